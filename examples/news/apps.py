from django.apps import AppConfig


class NewsConfig(AppConfig):
    name = "examples.news"
    label = "news"
