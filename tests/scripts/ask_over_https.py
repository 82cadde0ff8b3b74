"""Asks for the login page over HTTPS, and prints as JSON what its answer and the settings say of cookies."""

import json

import django
from django.conf import settings


def main() -> None:
    from django.test import Client

    answer = Client().get("/login/", secure=True, HTTP_HOST="portal.example.com")
    found = {
        "status": answer.status_code,
        "cookies": {
            name: [bool(cookie["secure"]), bool(cookie["httponly"]), cookie["path"], cookie["domain"]]
            for name, cookie in answer.cookies.items()
        },
        "session": settings.SESSION_COOKIE_NAME,
        "secure": settings.SESSION_COOKIE_SECURE,
        "hsts": answer.headers.get("Strict-Transport-Security", ""),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    django.setup()
    main()
