#!/usr/bin/env python3
"""Django's command line: `manage.py help` lists the commands, `manage.py sync --help` those of the mirror."""

import logging
import os
import sys


def main() -> None:
    """Runs the command. A mistake in the settings or an unreachable server is one line, and exit status 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "analytics_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import Error as DatabaseError

    from analytics_site.environment import Misconfigured

    try:
        execute_from_command_line(sys.argv)
    except Misconfigured as error:
        error.end_program()
    except (ImproperlyConfigured, DatabaseError) as error:
        if "--traceback" in sys.argv:
            raise
        if isinstance(error, ImproperlyConfigured):
            line = str(error)
        else:
            from sync.core import mysql

            if not mysql.has_a_reason(error):
                raise
            line = mysql.reason(error)
        logging.getLogger("sync").debug("manage.py ended", exc_info=True)
        print(f"{line.rstrip('.')}.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
