"""Another program's write: the database's own driver, without Django. Its arguments are the driver's module, and how to
connect, as JSON."""

import importlib
import json
import sys

if __name__ == "__main__":
    connection = importlib.import_module(sys.argv[1]).connect(**json.loads(sys.argv[2]))
    connection.cursor().execute("UPDATE finance_account SET account_id = 8 WHERE account_id = 0")
    connection.commit()
