from django.urls import path

from examples.retail import views

app_name = "retail"
urlpatterns = [path("revenue/", views.revenue, name="revenue")]
