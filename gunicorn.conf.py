"""Read by gunicorn if it is started beside this file.

Wrong variables stop it at once, its log is the portal's, and clients that send slowly hold no thread.
"""

import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))
from analytics_site.environment import Misconfigured  # noqa: E402  (the line above says where it is)

try:
    # Run and not imported: gunicorn's own process keeps nothing of it, so that reloaded workers read it again.
    logconfig_dict = runpy.run_path(str(FOLDER / "analytics_site" / "settings.py"))["LOGGING"]
except Misconfigured as error:
    error.end_program()
# Of --access-logfile. Not the query, which may hold a secret.
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)s ms [%({x-request-id}o)s]'
worker_class = "analytics_site.gunicorn_worker.Worker"
worker_connections = 800  # of each worker; a process may usually have 1024 files open
