"""Daphne's runserver for the demo: a clear word if the port is taken, and what to try once it runs."""

import functools
import os
import sys
from typing import Any

from daphne.management.commands.runserver import Command as DaphneCommand
from daphne.server import Server
from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections

from project.management.commands.demo_data import PASSWORD, USERNAME
from project.port import why_not

BANNER = """
  Dashboard   {base}/
  Export      {base}/demo/export/
  Chat        {base}/demo/chat/
  Admin       {base}/admin/   sign in as {username} / {password}
  Events      {base}/sse/events/?topic=notifications

  Listen in a second terminal:
    curl -N '{base}/sse/events/?topic=notifications'
  Publish in a third one, in this directory:
    {python} manage.py sse_publish notifications '{{"title": "Hello"}}' --event notification
"""


class Command(DaphneCommand):  # type: ignore[misc]
    """``runserver`` as daphne's, and friendlier."""

    def run(self, **options: Any) -> None:
        """Probe the port, where daphne and the reloader would hang, and go on."""
        if reason := why_not(self.addr, int(self.port)):
            raise CommandError(reason)
        super().run(**options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve, and greet once it runs."""
        self.server_cls = functools.partial(Server, ready_callable=self._greet)
        super().inner_run(*args, **options)

    def _greet(self) -> None:
        connections.close_all()
        if not settings.DEBUG:
            return
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        banner = BANNER.format(
            base=f"{self.protocol}://{host}:{self.port}",
            username=USERNAME,
            password=PASSWORD,
            python=os.path.relpath(sys.executable),
        )
        self.stdout.write(banner)
        self.stdout.flush()
