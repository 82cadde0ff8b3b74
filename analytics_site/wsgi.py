"""The WSGI application: `gunicorn analytics_site.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from analytics_site.environment import Misconfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "analytics_site.settings")
try:
    application = get_wsgi_application()
except Misconfigured as error:
    error.end_program(3)  # by which gunicorn knows that another worker would not start either
