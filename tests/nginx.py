"""nginx as the tests run it: with the site of deploy/nginx at other ports and paths."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.servers import ROOT

SITE = (ROOT / "deploy" / "nginx" / "portal.conf").read_text()
MAIN = """
{user}
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/portal.conf;
}}
"""


def configure(folder: Path, changes: Mapping[str, str]) -> list[str]:
    """Writes its configuration into a folder. Returns the command. changes: of the site, old text: new text."""
    site = SITE
    for old, new in {**changes, "/etc/nginx/portal.": f"{folder}/portal.", "/var/cache/nginx": str(folder)}.items():
        assert old in site
        site = site.replace(old, new)
    (folder / "portal.conf").write_text(site)
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
    # Debian's, or the copy that script/bootstrap makes.
    program = shutil.which("nginx") or str(ROOT / "var/nginx/usr/sbin/nginx")
    return [program, "-p", str(folder), f"-c{folder / 'nginx.conf'}"]
