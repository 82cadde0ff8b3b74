from django.apps import AppConfig


class RetailConfig(AppConfig):
    name = "examples.retail"
    verbose_name = "Retail"
