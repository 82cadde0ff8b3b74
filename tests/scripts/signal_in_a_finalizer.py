"""Gets a signal to stop while a finalizer runs, where Python discards the exception of the handler."""

import os
import signal
import sys
import weakref
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "script"))
import serve


class Thing:
    pass


serve.stop_on(signal.SIGTERM)
thing = Thing()
weakref.finalize(thing, os.kill, os.getpid(), signal.SIGTERM)
del thing
print("still running")
sys.exit(serve.serve(1))
