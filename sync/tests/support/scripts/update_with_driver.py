"""Updates accounts with the database driver, without Django, as another program would.

Arguments: the driver's module, and the connection's parameters as JSON.
"""

import importlib
import json
import sys

if __name__ == "__main__":
    connection = importlib.import_module(sys.argv[1]).connect(**json.loads(sys.argv[2]))
    connection.cursor().execute("UPDATE finance_account SET account_id = 8 WHERE account_id = 0")
    connection.commit()
