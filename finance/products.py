"""The products that an account can hold, named as in the data."""

PRODUCTS = ("InvestmentStock", "CurrencyService", "Brokerage", "InvestmentFund", "Commodity", "Derivatives")
