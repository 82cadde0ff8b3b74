from django.urls import path

from sync.web import alerts, changes, console, records, repair, routes, targets

app_name = "sync"
urlpatterns = [
    path("", console.console, name="console"),
    path("live/", console.live, name="live"),
    path("alerts/", alerts.alerts, name="alerts"),
    path("alerts/test/", alerts.send_test, name="test_alert"),
    path("changes/", changes.changes, name="changes"),
    path("changes/order/", changes.order, name="order"),
    path("targets/<str:label>/repair/", repair.repair, name="repair"),
    path("targets/<str:label>/<slug:act>/", targets.act, name="act"),
    path("routes/<path:name>/<slug:act>/", routes.act_on_route, name="route_act"),
    path("jobs/<int:pk>/stop/", targets.stop, name="stop"),
    path("record/<str:label>/<path:key>/", records.record_page, name="record"),
]
