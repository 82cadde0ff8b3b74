"""Every URL of the portal."""

from importlib import import_module

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.utils.module_loading import module_has_submodule
from django.views.generic import RedirectView

from analytics_site import my_data, people, views
from analytics_site.delete_account import delete_account
from sync.web import probes

# The admin has no login and password pages of its own: the portal's have the limits and the second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

handler500 = "analytics_site.views.server_error"

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", probes.readyz, name="readyz"),
    path("metrics", probes.prometheus, name="metrics"),
    path("help/", views.help_page, name="help"),
    path("my-data/", my_data.page, name="my_data"),
    path("my-data/download/", my_data.download, name="my_data_download"),
    path("my-data/delete/", delete_account, name="delete_account"),
    path("people/", people.people, name="people"),
    path("people/<int:pk>/", people.person, name="person"),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("sync/", include("sync.web.urls")),
    path("audit/", include("audit.urls")),
    path("", include("accounts.urls")),
    path("", include("finance.urls")),
    *(
        path(f"examples/{name}/", include(f"examples.{name}.urls"))
        for name in settings.EXAMPLES
        if module_has_submodule(import_module(f"examples.{name}"), "urls")
    ),
]
