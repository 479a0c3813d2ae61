"""Which notes of a federation count, and what they say at an instant: PROTOCOL.md §6."""

import datetime

from reader import HEX, TIME, Invalid, Tree, ancestors, b64, need, rising, sha, signed_by, signed_note, strict, text

KEYS = {
    "root": {"key", "certificates", "witness"},
    "delegation": {"publisher", "authorities"},
    "registry": {"nodes", "not_after", "grace_until"},
    "revoked": {"next", "rows"},
    "people": {"people"},
}
AHEAD = 15 * 60 * 1000


def millis(time):
    """Unix milliseconds of a time as texts write it."""
    need(text(TIME)(time), "a time")
    try:
        moment = datetime.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError as error:
        raise Invalid("a time") from error
    return round(moment.timestamp() * 1000)


def within(row, at):
    return millis(row["from"]) <= at <= millis(row["until"])


def below(code, other):
    return other in ancestors(code)


class Note:
    """A note's name, number, content and signatures."""

    def __init__(self, data):
        self.signed = signed_note(data)
        lines = self.signed[0].split("\n")
        need(len(lines) == 4 and lines[3] == "", "a note has three lines")
        self.name, number, content = lines[:3]
        need(number.isascii() and number.isdigit() and str(int(number)) == number and int(number) < 2**53, "a note's number")
        self.number, self.content = int(number), strict(content)
        self.federation, _, self.kind = self.name.partition("/")
        self.word, _, self.code = self.kind.partition("/")
        need(set(self.content) == KEYS.get(self.word), "a note's keys")
        self.digest = sha(self.signed[0].encode()).hex()

    def by(self, key):
        return signed_by(self.signed, key)


class Trust:
    """The notes that verify, judged by rank (root, delegation, the rest) and number, whatever order they came in."""

    def __init__(self, federation, fingerprint, notes, now=None):
        self.federation, self.fingerprint, self.now = federation, fingerprint, now
        self.held, self.in_force, self.forks, self.refused = {}, {}, [], []
        ranked = sorted(notes, key=lambda note: (note.kind != "root", note.kind != "delegation", note.number))
        for note in ranked:
            try:
                self.accept(note)
            except Invalid as error:
                self.refused.append((note, str(error)))

    def accept(self, note):
        need(note.federation == self.federation, "a note of another federation")
        need(self.now is None or note.number <= self.now + AHEAD, "a note from the future")
        numbers = self.held.setdefault(note.kind, {})
        known = numbers.get(note.number)
        if known and known.digest == note.digest:
            return
        newest = self.in_force.get(note.kind)
        now = (self.newest("root"), self.newest("delegation"))
        then = (self.then("root", note.number), self.then("delegation", note.number))
        # An older one may still tell what was valid in its time.
        counts = (newest is None or note.number > newest) and self.holds(note, *now) and self.keeps_rows(note)
        need(counts or self.holds(note, *then), f"the signer of {note.kind}")
        if known:
            self.forks.append(note)
            return
        numbers[note.number] = note
        if counts:
            self.in_force[note.kind] = note.number

    def newest(self, kind):
        note = self.held.get(kind, {}).get(self.in_force.get(kind))
        return note and note.content

    def then(self, kind, number):
        """The content that was the newest at a number, or the first of all."""
        numbers = sorted(self.held.get(kind, {}))
        before = [at for at in numbers if at <= number]
        return self.held[kind][(before or numbers)[-1 if before else 0]].content if numbers else None

    def holds(self, note, root, delegation):
        """Whether its signer may say it, under this root and delegation."""
        if note.kind == "root":
            before = [at for at in self.held.get("root", {}) if at < note.number]
            if before:
                first = self.held["root"][max(before)].content["key"]
                return note.by(note.content["key"]) and note.by(first)
            first = sha(note.content["key"].encode()).hex() == self.fingerprint
            return not self.held.get("root") and note.by(note.content["key"]) and first
        if root is None:
            return False
        if note.kind == "delegation":
            return note.by(root["key"])
        if note.word == "people":
            before = [at for at in self.held[note.kind] if at < note.number]
            if not before:
                return not self.held[note.kind] and note.by(self.then("root", note.number)["key"])
            people = self.held[note.kind][max(before)].content["people"]
            may = [row for row in people if row["role"] == "security_administrator" and within(row, note.number)]
            return sum(note.by(row["key"]) for row in may) >= 2
        if delegation is None:
            return False
        if note.kind == "registry":
            publisher = delegation["publisher"]
            return within(publisher, note.number) and note.by(publisher["key"]) and well_formed(note.content)
        signers = [row["code"] for row in delegation["authorities"] if within(row, note.number) and note.by(row["key"])]
        above = note.by(root["key"]) or any(below(note.code, signer) for signer in signers)
        codes = [row["code"] for row in note.content["rows"]]
        if above:
            return all(code == note.code or below(code, note.code) for code in codes)
        return note.code in signers and all(below(code, note.code) for code in codes)

    def keeps_rows(self, note):
        """An authority above may add and re-date, never remove."""
        held = self.newest(note.kind)
        if note.word != "revoked" or held is None:
            return True
        delegation = self.newest("delegation")
        if any(row["code"] == note.code and note.by(row["key"]) for row in delegation["authorities"]):
            return True
        same = lambda row: (row["what"], row["code"], row["object"])
        return {same(row) for row in held["rows"]} <= {same(row) for row in note.content["rows"]}

    # --- what they say -------------------------------------------------------------------------------------------

    def registry_by(self, reference):
        note = self.held.get("registry", {}).get(reference["number"])
        return note.content if note and note.digest == reference["digest"] else None

    def registry_at(self, at):
        numbers = [number for number in self.held.get("registry", {}) if number <= at]
        return self.held["registry"][max(numbers)].content if numbers else None

    def replaced_at(self, number):
        return min((later for later in self.held["registry"] if later > number), default=None)

    def rows(self, archived=False):
        """Rows of all lists of revocations in force; of two that forked both count."""
        lists = [note for kind, numbers in self.held.items() if kind.startswith("revoked/") for note in numbers.values()
                 if archived or self.in_force.get(kind) == note.number]
        lists += [note for note in self.forks if note.word == "revoked" and (archived or self.in_force[note.kind] == note.number)]
        return [row for note in lists for row in note.content["rows"]]

    def key_revoked(self, code, key, by=None):
        return any(row["what"] == "key" and row["code"] == code and row["object"] == key and (by is None or millis(row["since"]) <= by)
                   for row in self.rows())

    def out(self, code, whats, archived=False):
        """Whether a row says one of these things of a node or of what stands above it."""
        line = [code, *ancestors(code)]
        return any(row["what"] in whats and row["code"] in line for row in self.rows(archived))

    def log_row(self, origin):
        """The node and the log that the newest registry has under an origin."""
        federation, _, code, number = origin.split("/")
        registry = self.newest("registry") if federation == self.federation else None
        node = next((row for row in (registry or {"nodes": []})["nodes"] if row["code"] == code), None)
        log = next((row for row in node["logs"] if row["number"] == int(number)), None) if node else None
        need(log and log["key"].split("+")[0] == origin, "a log that the registry does not know")
        return node, log

    def log_key(self, origin, at, witnessed=False):
        """A log's key as it was good at an instant; of what was witnessed then, what came later does not matter."""
        node, log = self.log_row(origin)
        need(not self.key_revoked(node["code"], log["key"], at if witnessed else None), "a revoked key")
        gone = node["state"] == "active" and self.out(node["code"], {"node"})
        need(witnessed or not gone, "a revoked node")
        need(within(log, at), "a key out of its window")
        need(node["state"] == "active" or at < self.in_force["registry"], "a node that left")
        return log["key"]


def well_formed(registry):
    codes = [row["code"] for row in registry["nodes"]]
    raw = [b64(key["key"].split("+", 2)[2])[1:] for row in registry["nodes"] for field in ("logs", "witness_keys") for key in row[field]]
    raw += [b64(key["key"]) for row in registry["nodes"] for key in row["sealing_keys"]]
    try:
        Tree(registry)
    except Invalid:
        return False
    rise = rising(lambda _: True)
    orders = [value for row in registry["nodes"] for value in (
        [log["number"] for log in row["logs"]], row["categories"], row["formats"]) if value]
    return bool(rise(codes)) and all(map(rise, orders)) and len(set(raw)) == len(raw)


def trust_of(notes, fingerprint, now=None):
    """Trust from the notes of a file: its federation is the one whose root note stands there."""
    need(text(HEX)(fingerprint), "a fingerprint")
    parsed = [Note(data) for data in notes]
    federation = next((note.federation for note in parsed if note.kind == "root"), None)
    need(federation, "no root note")
    trust = Trust(federation, fingerprint, parsed, now)
    need(trust.newest("root"), "no root note of the fingerprint")
    return trust
