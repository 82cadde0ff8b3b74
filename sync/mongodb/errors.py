"""Why MongoDB is unreachable, in one line with the cause and what to check, whatever the driver reports."""

from __future__ import annotations

import re

from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError

UNAUTHORIZED, DISK_FULL, ATLAS, WRITES_BLOCKED = 13, 14031, 8000, 371
NOT_PRIMARY = {10107, 10058, 11602, 13435, 13436, 189}
SHUTDOWN = {91, 11600}
NO_TIME = {24, 46, 50, 89, 262}
# Errors that MongoDB may report for each document of a bulk although none of them is to blame.
SERVERS_FAULT = {DISK_FULL, ATLAS, WRITES_BLOCKED, UNAUTHORIZED, 6, 7, 112, 9001} | NOT_PRIMARY | SHUTDOWN | NO_TIME

NO_DNS = "MongoDB cannot be reached: DNS does not respond, so its servers are unknown; check DNS"
NOT_YET = "This process has no connection to MongoDB yet: the machine was too busy to create one in time"
# The driver's wording of what keeps it from a server, and the line for it: the cause, and what to check. The first
# matching pattern counts. {0} is the pattern's group, {host} the server.
CAUSES = [
    (r"No verified subject name", "MongoDB rejects the login: MONGODB-X509 needs tls=true and tlsCertificateKeyFile"),
    (r"Authentication failed|bad auth", "MongoDB rejects the login: wrong user, password or authSource"),
    (
        r"mechanism '?([\w-]+)'? ?(?:which )?is not (?:enabled|supported)|nsupported.*mechanism:? '?([\w-]+)",
        "MongoDB does not offer the login mechanism {0}: check authMechanism in its address",
    ),
    (r"certificate has expired", "MongoDB's certificate has expired ({host}): renew it, or the CA in tlsCAFile"),
    (
        r"certificate is not yet valid",
        "MongoDB's certificate is not valid yet ({host}): check the clocks of both machines",
    ),
    (
        r"mismatch, certificate is not valid for '(.*?)'",
        "MongoDB's certificate is not for {0}: use a host name that it contains, or renew it",
    ),
    (
        r"certificate verify failed: (.*?)(?: \(_ssl|$)",
        "MongoDB's certificate is not trusted ({host}, {0}): check tlsCAFile in its address",
    ),
    (
        r"ALERT_(\w*CERTIFICATE\w*|UNKNOWN_CA|ACCESS_DENIED)",
        "MongoDB rejects this client's certificate ({host}, {0}): check tlsCertificateKeyFile in its address",
    ),
    (
        r"(ALERT_PROTOCOL_VERSION|HANDSHAKE_FAILURE|UNSUPPORTED_PROTOCOL|\w+_TOO_SMALL|NO_\w*CIPHER\w*)",
        "MongoDB and this client have no TLS version or cipher in common ({host}, {0})",
    ),
    (
        r"WRONG_VERSION_NUMBER|RECORD_LAYER|PACKET_LENGTH|HTTP_REQUEST",
        "MongoDB's address leads to a port without TLS ({host}): check the port, and tls in the address",
    ),
    (
        r"\[SSL|SSL handshake failed",
        "MongoDB ends the TLS handshake ({host}): the port may have no TLS, or require a client's certificate; "
        "check the port, tls and tlsCertificateKeyFile",
    ),
    (
        r"Name or service not known|nodename nor servname|No address associated|name resolution|getaddrinfo failed",
        "MongoDB's host name cannot be resolved ({host}): check the address and DNS",
    ),
    (r"host name lookup timed out", "MongoDB's host name cannot be resolved ({host}): DNS does not respond; check DNS"),
    (
        r"DNS query name does not exist: (\S+?)\.?$|does not contain an answer to the question: (\S+?)\.? IN",
        "MongoDB's address has no DNS record {0}: check the host name after mongodb+srv://",
    ),
    (
        r"resolution lifetime expired|nameservers failed|resolv\.conf",
        NO_DNS,
    ),
    (
        r'for replica set name "(?!None")(.*?)"',
        'MongoDB has no replica set "{0}" there: check the hosts, and replicaSet in the address',
    ),
    (
        r"No primary|match selector",
        "MongoDB has no primary now: an election is under way, or most of its members are unreachable",
    ),
    (r"requires at least .*?\((.*?)\)", "MongoDB is too old: this client needs {0} or newer"),
    (r"reports wire version|only supports wire versions", "MongoDB is too new for this client: upgrade PyMongo"),
    (
        r"connection closed|Connection reset|Broken pipe",
        "MongoDB does not respond: {host} closed the connection; it may be restarting, or require TLS (tls=true) or a "
        "client's certificate, or a proxy in between has no server",
    ),
    (r"Connection refused", "MongoDB does not respond: {host} refuses connections; check that it runs there"),
    (
        r"(No route to host|Network is unreachable|Host is down)",
        "MongoDB does not respond: {0} ({host}); check the network, firewalls and the address",
    ),
    (
        r"Could not reach any servers in \[(.*?)\]",
        "MongoDB does not respond: no member can be reached at the address that the replica set lists ({0}); check "
        "that they run, and that these addresses lead there",
    ),
    (
        r"response id|opcode|[Mm]essage length|OP_MSG|flagBits",
        "MongoDB's address leads to another kind of server: check host, port and tls",
    ),
    (
        r"found yet|No servers|No mongos|timed? ?out",
        "MongoDB does not respond in time{at}: check that it runs, its address, and firewalls",
    ),
]


class Unavailable(Exception):
    """MongoDB is unavailable: unreachable, without a primary, or rejecting this client. The message is one line."""


class NoClient(ConnectionFailure):
    """This process has no client of a server, whose address or a file named there is wrong. Says why."""


def reason(error: PyMongoError) -> str:
    """Why MongoDB failed, in one line without topology dumps, and the same line as long as the cause is the same."""
    if isinstance(error, NoClient):
        return str(error)
    text = without_secrets(re.split(r", full error|, Timeout: |, remaining timeout", str(error))[0])
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        for problem in details.get("writeErrors", []):
            return words(problem["code"], problem["errmsg"])
        concern = details.get("writeConcernErrors") or [{}]
        return f"MongoDB has not confirmed a write: {concern[0].get('errmsg', error)}"
    if isinstance(error, OperationFailure):
        return words(error.code, text)
    # The driver also reports a server's error as the reason why it finds no server.
    if code := re.search(r"full error: {.*?'code': (\d+)", str(error), re.DOTALL):
        return words(int(code[1]), text)
    if cause := cause_of(text):
        return cause
    if error.timeout or isinstance(error, ConnectionFailure):
        return f"MongoDB does not respond: {text.split('(')[0].strip()}"
    return f"MongoDB: {text.splitlines()[0].rstrip('.')}"


def without_secrets(text: str) -> str:
    """The driver's message about an address, without user and password."""
    return re.sub(r"[^\s\"'(]*@", "", text)


def words(code: int | None, text: str) -> str:
    """One line for a server's own error, by its code."""
    if code == UNAUTHORIZED:
        right = re.sub(r" command {? *(\w+).*", r" \1", text, flags=re.DOTALL)
        return f"MongoDB: {right}"
    if code == DISK_FULL or "No space left" in text:
        return "MongoDB's disk is full: free or add space there"
    if code == WRITES_BLOCKED:
        return "MongoDB accepts no writes: an administrator has blocked them (setUserWriteBlockMode)"
    if code in SHUTDOWN:
        return "MongoDB is shutting down or restarting"
    if code in NOT_PRIMARY:
        return "MongoDB accepts no writes there: the primary has changed, or there is none"
    if code in NO_TIME:
        return "MongoDB does not respond in time: check its load, and whether it has a primary"
    if code == ATLAS:
        return cause_of(text) or f"MongoDB Atlas refuses: {text.rstrip('.')}; check the cluster's quota and rights"
    return cause_of(text) or f"MongoDB: {text.splitlines()[0].rstrip('.')}"


def cause_of(text: str) -> str:
    """The line of the first of CAUSES found in `text`; empty if none is."""
    text = re.sub(r"\('([^']+)', (\d+)\)", r"\1:\2", text)
    hosts = list(re.finditer(r"([^\s,(]+:\d+): |([^\s,(]+): \[Errno", text))
    for pattern, line in CAUSES:
        if found := re.search(pattern, text, re.MULTILINE):
            # Of several servers, the one whose error it is: an error follows its server.
            host = next((host for host in reversed(hosts) if host.start() < found.start()), hosts[0] if hosts else None)
            where = next(filter(None, host.groups()), "") if host else ""
            group = next(filter(None, found.groups()), "")
            return line.format(group, host=where or "unknown host", at=f" ({where})" if where else "")
    return ""
