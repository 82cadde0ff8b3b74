"""The WSGI application: `gunicorn analytics_site.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from analytics_site.environment import Misconfigured
from analytics_site.telemetry import trace_requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "analytics_site.settings")
try:
    trace_requests()
    application = get_wsgi_application()
    from sync.checks.mirrored import check_settings  # commands run all checks; a web server runs none on its own

    if problems := [problem.msg for problem in check_settings(None) if problem.is_serious()]:
        raise Misconfigured("\n".join(problems))
except Misconfigured as error:
    error.end_program(3)  # so gunicorn knows that another worker would not start either
