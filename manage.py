#!/usr/bin/env python3
"""Django's command line: `manage.py help` lists the commands, `manage.py sync --help` those of the mirror."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "analytics_site.settings")
    from django.core.management import execute_from_command_line

    from analytics_site.environment import Misconfigured

    try:
        execute_from_command_line(sys.argv)
    except Misconfigured as error:
        error.end_program()
