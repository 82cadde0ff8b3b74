"""The products that an account can hold, by the names the data uses."""

PRODUCTS = ("InvestmentStock", "CurrencyService", "Brokerage", "InvestmentFund", "Commodity", "Derivatives")
