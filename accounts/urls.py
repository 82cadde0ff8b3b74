"""URLs of accounts: the portal's own, and allauth's under this portal's paths."""

from allauth.account import views as allauth
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.urls import path, re_path

from accounts import passkeys, preferences, views

urlpatterns = [
    path("", views.landing, name="landing"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("profile/", views.profile, name="profile"),
    path("preferences/", preferences.edit, name="preferences"),
    path("language/", preferences.choose_language, name="language"),
    path("profile/picture/", views.picture, name="picture"),
    path("sessions/", views.list_sessions, name="sessions"),
    path("sessions/others/end/", views.end_other_sessions, name="end_other_sessions"),
    path("register/", allauth.signup, name="account_signup"),
    path("login/", allauth.login, name="account_login"),
    path("login/passkey/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path("logout/", allauth.logout, name="account_logout"),
    path("inactive/", allauth.account_inactive, name="account_inactive"),
    path("reauthenticate/", allauth.reauthenticate, name="account_reauthenticate"),
    path("email/", views.one_at_a_time(allauth.email), name="account_email"),
    path("email/confirm/", allauth.email_verification_sent, name="account_email_verification_sent"),
    path("email/confirm/<str:key>/", allauth.confirm_email, name="account_confirm_email"),
    path("email/undo/<str:token>/", views.undo_address, name="account_undo_address"),
    path("password/change/", allauth.password_change, name="account_change_password"),
    path("password/set/", allauth.password_set, name="account_set_password"),
    path("password/reset/", allauth.password_reset, name="account_reset_password"),
    path("password/reset/done/", allauth.password_reset_done, name="account_reset_password_done"),
    path(
        "password/reset/key/done/",
        allauth.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>[^/]+)/$",
        allauth.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path("two-factor/", factors.index, name="mfa_index"),
    path("two-factor/authenticate/", factors.authenticate, name="mfa_authenticate"),
    path("two-factor/reauthenticate/", factors.reauthenticate, name="mfa_reauthenticate"),
    path("two-factor/totp/activate/", views.one_at_a_time(totp.activate_totp), name="mfa_activate_totp"),
    path("two-factor/totp/deactivate/", views.one_at_a_time(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("two-factor/passkeys/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("two-factor/passkeys/add/", views.one_at_a_time(passkeys.AddPasskeyView.as_view()), name="mfa_add_webauthn"),
    path(
        "two-factor/passkeys/reauthenticate/",
        passkeys.ReauthenticatePasskeyView.as_view(),
        name="mfa_reauthenticate_webauthn",
    ),
    path("two-factor/passkeys/<int:pk>/rename/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path(
        "two-factor/passkeys/<int:pk>/remove/",
        views.one_at_a_time(webauthn.remove_webauthn),
        name="mfa_remove_webauthn",
    ),
    path("two-factor/recovery-codes/", codes.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("two-factor/recovery-codes/generate/", codes.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path("two-factor/recovery-codes/download/", codes.download_recovery_codes, name="mfa_download_recovery_codes"),
]
