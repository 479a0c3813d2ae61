"""A second implementation of the reader, from the specification alone: lines, entries, notes, trees, streams, sealing, merging.

Standard library and `cryptography`. `trust.py` judges notes, `evidence.py` evidence files; `verify.py` is the program.
"""

import base64
import binascii
import hashlib
import hmac
import json
import pathlib
import re
import tomllib
import unicodedata

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


CATALOGUE = pathlib.Path(__file__).parents[2] / "crates" / "catalogue" / "catalogue.toml"
DOCUMENT = tomllib.loads(CATALOGUE.read_text(encoding="utf-8"))
CATEGORIES = {category["id"]: category["fields"] for category in DOCUMENT["category"]}


class Invalid(Exception):
    """Something does not hold."""


def need(condition, why):
    if not condition:
        raise Invalid(why)


def sha(data):
    return hashlib.sha256(data).digest()


def b64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("base64") from error
    need(base64.b64encode(data).decode() == text, "base64 is not canonical")
    return data


# --- one line of JSON, read strictly ---------------------------------------------------------------------------------


def pairs(items):
    need(len({key for key, _ in items}) == len(items), "a repeated key")
    return dict(items)


def integer(text):
    need(text != "-0" and abs(int(text)) < 2**53, "an integer beyond its bound")
    return int(text)


def no_float(_):
    raise Invalid("a float")


def walk(value, depth):
    need(depth <= 16, "too deep")
    if isinstance(value, str):
        need(unicodedata.is_normalized("NFC", value), "not NFC")
        need(not any(0xD800 <= ord(character) < 0xE000 for character in value), "a lone surrogate")
    elif isinstance(value, dict):
        for key, inner in value.items():
            walk(key, depth)
            walk(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            walk(inner, depth + 1)


def strict(line):
    need(line.startswith("{") and line.endswith("}") and "\n" not in line, "not one object")
    try:
        value = json.loads(line, object_pairs_hook=pairs, parse_int=integer, parse_float=no_float, parse_constant=no_float)
    except json.JSONDecodeError as error:
        raise Invalid("json") from error
    walk(value, 0)
    return value


HEX = re.compile(r"[0-9a-f]{64}\Z")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
CODE = re.compile(r"\d{6}\Z")
ORIGIN = re.compile(r"[a-z0-9.-]+/node/\d{6}/[1-9]\d*\Z")
WORD = re.compile(r"[a-z0-9_.-]{1,64}\Z")
RULES = "relation purpose mandate_not_in_force mandate_subject mandate_category mandate_withdrawn same_person expired registry".split()


def text(pattern):
    return lambda value: isinstance(value, str) and bool(pattern.match(value))


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def note_ref(value):
    return isinstance(value, dict) and set(value) == {"number", "digest"} and whole(value["number"]) and text(HEX)(value["digest"])


def rising(check):
    return lambda value: isinstance(value, list) and value and all(map(check, value)) and all(a < b for a, b in zip(value, value[1:]))


def one_of(*words):
    return lambda value: value in words


COMMON = {"v": lambda value: value == 1 and value is not True, "kind": text(WORD), "log": text(ORIGIN), "time": text(TIME), "id": text(UUID7), "body": text(HEX)}
SCOPE = one_of("lineage", "federation", "codes")
KINDS = {
    "query": {
        "purpose": text(WORD), "case": text(HEX), "subjects": whole, "categories": rising(text(WORD)), "scope": SCOPE, "registry": note_ref,
        "catalogue": whole, "targets": rising(text(CODE)), "priority": one_of("person", "batch"), "expires": text(TIME), "mandate_id": text(UUID7),
    },
    "answer": {"re": text(HEX), "subject": whole},
    "refusal": {"re": text(HEX), "rule": one_of(*RULES)},
    "account": {"re": text(HEX)},
    "result": {"re": text(HEX), "complete": lambda value: isinstance(value, bool)},
    "withdrawal": {"mandate_id": text(UUID7), "registry": note_ref, "scope": SCOPE, "targets": rising(text(CODE)), "expires": text(TIME)},
    "act": {"action": text(WORD), "object": text(HEX), "to": text(CODE), "public": lambda value: isinstance(value, dict)},
}
OPTIONAL = {"targets", "to", "public"}


def octets(fewest, most, head=b""):
    def check(value):
        raw = b64(value) if isinstance(value, str) else b""
        return fewest <= len(raw) <= most and raw.startswith(head)
    return check


def vkey(kind, name):
    def check(value):
        found, hint, encoded = value.split("+", 2)
        raw = b64(encoded)
        return found == name and len(raw) == 33 and raw[0] == kind and hint == sha(f"{name}\n".encode() + raw).hex()[:8]
    return check


def endpoint(value):
    host, _, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    return bool(re.fullmatch(r"[A-Za-z0-9.:-]{1,253}", host)) and (bracketed or ":" not in host) and port.isdecimal() and 0 < int(port) < 65536


def endpoints(value):
    return isinstance(value, list) and 1 <= len(value) <= 8 and all(map(endpoint, value)) and len(set(value)) == len(value)


def up_to(most, check, fewest=0):
    return lambda value: isinstance(value, list) and fewest <= len(value) <= most and (not value or rising(check)(value))


P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
SECOND = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.000Z\Z")


def public_of(entry):
    """The public part of an act: the members of its action's type and no others."""
    federation, _, code, number = entry["log"].split("/")
    key, signature, categories = octets(91, 91, P256), octets(1, 72), up_to(256, text(WORD))
    witness = vkey(4, f"{federation}/witness/{code}")
    newcomer = {
        "name": lambda value: 1 <= len(value) <= 100 and value.strip() and not re.search(r"[\x00-\x1f\x7f-\x9f]", value), "endpoints": endpoints, "categories": categories,
        "formats": up_to(16, whole, 1), "log": vkey(1, f"{federation}/node/{code}/{number}"), "witness": witness, "sealing": octets(32, 32),
    }
    first = entry.get("public", {}).get("occasion") == "first"
    log_of = lambda value: text(ORIGIN)(value) and value.rpartition("/")
    of_node = lambda fits: lambda value: bool(log_of(value)) and log_of(value)[0] == f"{federation}/node/{code}" and fits(int(log_of(value)[2]))
    introduces = lambda value: isinstance(value, dict) and set(value) == set(newcomer) and all(check(value[name]) for name, check in newcomer.items())
    shapes = {
        "certificate.request": {"occasion": one_of("first", "renewal", "return"), "tls": key, "possession": signature, **({"node": introduces} if first else {})},
        "authority.request": {"authority": key, "possession": signature, "notes": vkey(1, f"{federation}/revoked/{code}")},
        "sealing.request": {"sealing": octets(32, 32)}, "witness.request": {"witness": witness},
        "endpoints.request": {"endpoints": endpoints}, "categories.request": {"categories": categories},
        "certificate.issue": {
            "code": text(CODE), "key": text(HEX), "serial": text(re.compile(r"[4-7][0-9a-f]{31}\Z")), "not_before": text(SECOND), "not_after": text(SECOND), "request": text(HEX),
            "orders": up_to(16, text(HEX)),
        },
        "order.execute": {"order": text(HEX), "ordered": text(WORD)},
        "log.open": {"before": of_node(lambda other: other < int(number)), "size": whole, "root": text(HEX)},
        "log.close": {"next": of_node(lambda other: other > int(number)), "key": vkey(1, entry.get("public", {}).get("next"))},
    }
    shape = shapes.get(entry["action"])
    need((shape is None) == ("public" not in entry), "a public part stands with its actions alone")
    if shape is None:
        return
    need(entry["action"].endswith(".request") == ("to" in entry), "requests alone say to whom")
    public = entry["public"]
    need(set(public) == set(shape) and all(check(public[name]) for name, check in shape.items()), "the public part")
    need("not_before" not in public or public["not_before"] < public["not_after"], "a life that ends before it begins")


def entry_of(line):
    need(len(line.encode()) <= 65535, "an entry too long")
    entry = strict(line)
    shape = {**COMMON, **KINDS.get(entry.get("kind"), {"kind": lambda _: False})}
    for key, value in entry.items():
        need(key in shape and shape[key](value), f"the key {key}")
    need(all(key in entry for key in shape if key not in OPTIONAL), "a key is missing")
    if "scope" in entry:
        need(("targets" in entry) == (entry["scope"] == "codes"), "targets go with scope codes alone")
    if entry["kind"] == "act":
        public_of(entry)
    return entry


# --- notes, checkpoints, trees ---------------------------------------------------------------------------------------


def signed_note(data):
    if isinstance(data, bytes):
        try:
            data = data.decode()
        except UnicodeDecodeError as error:
            raise Invalid("not UTF-8") from error
    text, _, lines = data.rpartition("\n\n")
    need(lines.endswith("\n") and lines.startswith("— "), "not a signed note")
    signatures = []
    for line in lines[:-1].split("\n"):
        words = line.split(" ")
        need(len(words) == 3 and words[0] == "—", "a line of signature")
        name, raw = words[1], b64(words[2])
        signatures.append((name, raw[:4], raw[4:]))
    return text + "\n", signatures


def signed_by(note, vkey):
    text, signatures = note
    name, key_id, encoded = vkey.split("+", 2)
    key = b64(encoded)
    need(sha(name.encode() + b"\n" + key)[:4].hex() == key_id, "a verifier key")
    for signer, signer_id, signature in signatures:
        if signer == name and signer_id.hex() == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, text.encode())
                return key[:1] == b"\x01"
            except InvalidSignature:
                return False
    return False


def cosigned_by(note, vkey):
    """When this witness cosigned a checkpoint (Unix seconds); nothing if it did not."""
    text, signatures = note
    name, key_id, encoded = vkey.split("+", 2)
    key = b64(encoded)
    for signer, signer_id, signature in signatures:
        if signer == name and signer_id.hex() == key_id and key[:1] == b"\x04" and len(signature) == 72:
            seconds = int.from_bytes(signature[:8])
            try:
                message = f"cosignature/v1\ntime {seconds}\n{text}".encode()
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[8:], message)
                return seconds
            except InvalidSignature:
                return None
    return None


def checkpoint_of(note):
    """Origin, size and root that a signed checkpoint names."""
    lines = note[0].split("\n")
    need(len(lines) == 4 and lines[3] == "" and re.fullmatch(r"0|[1-9]\d*", lines[1]), "a checkpoint")
    root = b64(lines[2])
    need(len(root) == 32 and (lines[1] == "0") == (root == sha(b"")), "a checkpoint's root")
    return lines[0], int(lines[1]), root


def root_of(leaves, first, size, proof):
    """Walks the tree as RFC 9162 splits it; parts outside the run take a hash of the proof, left to right."""
    proof = list(proof)
    need(leaves and first + len(leaves) <= size, "a run outside its log")

    def part(start, length):
        if start + length <= first or start >= first + len(leaves):
            need(proof, "the proof is too short")
            return proof.pop(0)
        if length == 1:
            return leaves[start - first]
        left = 1 << ((length - 1).bit_length() - 1)
        return sha(b"\x01" + part(start, left) + part(start + left, length - left))

    root = part(0, size)
    need(not proof, "the proof is too long")
    return root


def consistent(old, old_root, new, new_root, proof):
    """Whether the log of `new` leaves begins with the log of `old`: walks down to where the old log ends, as RFC 9162 splits."""
    need(0 < old <= new, "sizes of a consistency proof")
    proof = list(proof)

    def part(size, known, whole):
        """Roots of this part in the old log, as far as it reached, and in the new one. `whole`: it is the old log's left edge."""
        if known == size:
            if whole:
                return old_root, old_root
            need(proof, "the proof is too short")
            same = proof.pop(0)
            return same, same
        left = 1 << ((size - 1).bit_length() - 1)
        if known <= left:
            before, after = part(left, known, whole)
            need(proof, "the proof is too short")
            return before, sha(b"\x01" + after + proof.pop(0))
        before, after = part(size - left, known - left, False)
        need(proof, "the proof is too short")
        edge = proof.pop(0)
        return sha(b"\x01" + edge + before), sha(b"\x01" + edge + after)

    found = part(new, old, True)
    need(not proof, "the proof is too long")
    need(found == (old_root, new_root), "the logs do not agree")


# --- streams ---------------------------------------------------------------------------------------------------------

KIB = 1024
LIMITS = {"C": 8 * KIB, "E": 65535, "B": 4 << 20, "S": 6 << 20, "P": 8 * KIB, "K": 8 * KIB, "F": 8 * KIB, "N": 8 << 20, "X": 64 * KIB, "H": 0}


def numbered(content):
    """Origin, a number, hashes."""
    words = content.split(" ")
    need(len(words) >= 2 and ORIGIN.match(words[0]) and re.fullmatch(r"0|[1-9]\d*", words[1]), "origin and number")
    hashes = [b64(word) for word in words[2:]]
    need(all(len(one) == 32 for one in hashes), "a hash")
    return words[0], int(words[1]), hashes


def events(stream):
    """What a stream holds: (line, letter, parts). A run's statements are (entry, leaf hash, body); nothing is verified but bodies."""
    need(stream == "" or stream.endswith("\n"), "cut")
    checkpoints, entry, run = [], None, []
    for number, line in enumerate(stream.split("\n")[:-1], 1):
        letter, content = line[:1], line[2:]
        need(line[1:2] == " ", "no letter and space")
        need(letter == "M" or len(content.encode()) <= LIMITS.get(letter, 0), "a line too long, or no such line")
        need((entry is not None) == (letter in "BS"), "B or S stands directly after E")
        need(letter in "EBSP" or not run, "a run is not closed")
        if letter == "C":
            checkpoints = [*checkpoints[-1:], signed_note(b64(content))]
        elif letter == "E":
            entry = content
        elif letter in ("B", "S"):
            parsed = entry_of(entry)
            if letter == "B":
                need(sha(content.encode()).hex() == parsed["body"], "a body is not its entry's")
            run.append((parsed, sha(b"\x00" + entry.encode()), content if letter == "B" else None))
            need(len(run) <= 256, "a run too long")
            entry = None
        elif letter == "P":
            origin, first, proof = numbered(content)
            need(run and checkpoints, "an empty run, or no checkpoint")
            yield number, "P", (checkpoints[-1], origin, first, run, proof)
            run = []
        elif letter == "K":
            origin, old, proof = numbered(content)
            need(checkpoints, "no checkpoint stands before")
            yield number, "K", (checkpoints[-1], origin, old, proof)
        elif letter == "F":
            origin, size, hashes = numbered(content)
            need(len(checkpoints) == 2 and hashes, "two checkpoints stand before, and a root comes first")
            yield number, "F", (*checkpoints, origin, size, hashes[0], hashes[1:])
        else:
            yield number, letter, b64(content) if letter == "N" else content
    need(entry is None and not run, "cut")


def verified_run(parts, key):
    """A run under its log's key: (origin, first, statements)."""
    checkpoint, origin, first, run, proof = parts
    need(signed_by(checkpoint, key), "the checkpoint is not this log's")
    named, size, root = checkpoint_of(checkpoint)
    need(named == origin, "the checkpoint is not this log's")
    need(all(statement["log"] == origin for statement, _, _ in run), "an entry of another log")
    need(all(a[0]["time"] <= b[0]["time"] for a, b in zip(run, run[1:])), "times decrease")
    need(root_of([leaf for _, leaf, _ in run], first, size, proof) == root, "another root")
    return origin, first, run


def runs_of(stream, keys):
    """Every run of a stream between nodes, verified."""
    runs = []
    for _, letter, parts in events(stream):
        if letter == "P":
            need(parts[1] in keys, "an unknown log")
            runs.append(verified_run(parts, keys[parts[1]]))
        else:
            need(letter == "H", "no such line between nodes")
    return runs


# --- sealing: HPKE base mode, X25519, HKDF-SHA256, AES-256-GCM ----------------------------------------------------------


def extract(salt, label, ikm, suite):
    return hmac.new(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, hashlib.sha256).digest()


def expand(prk, label, info, length, suite):
    labelled, out, block = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, b"", b""
    while len(out) < length:
        block = hmac.new(prk, block + labelled + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += block
    return out[:length]


def open_sealed(secret, sealed, entry):
    kem, hpke = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"
    enc, ciphertext = sealed[:32], sealed[32:]
    private = X25519PrivateKey.from_private_bytes(secret)
    public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    secret = expand(extract(b"", b"eae_prk", shared, kem), b"shared_secret", enc + public, 32, kem)
    info = b"sanku/v1/body\n" + entry
    context = b"\x00" + extract(b"", b"psk_id_hash", b"", hpke) + extract(b"", b"info_hash", info, hpke)
    prk = extract(secret, b"secret", b"", hpke)
    key, nonce = expand(prk, b"key", context, 32, hpke), expand(prk, b"base_nonce", context, 12, hpke)
    try:
        plain = AESGCM(key).decrypt(nonce, ciphertext, b"")
    except InvalidTag as error:
        raise Invalid("the seal does not open") from error
    need(len(plain) >= 4096 and len(plain) & (len(plain) - 1) == 0, "the padding")
    return plain.rstrip(b" ")


# --- tree, outcomes, completeness, merging ---------------------------------------------------------------------------

def ancestors(node):
    return [above for above in (node[:4] + "00", node[:2] + "0000") if above != node and (
        above[2:] != "0000" or node[2:] != "0000")]


class Tree:
    """Who stands above whom, by a registry's active nodes."""

    def __init__(self, registry):
        self.nodes = {row["code"] for row in registry["nodes"] if row["state"] == "active"}
        self.above = {node: next((above for above in ancestors(node) if above in self.nodes), None)
                      for node in self.nodes}
        need(list(self.above.values()).count(None) == 1, "not one tree")

    def line(self, node):
        found = [node]
        while self.above[found[-1]]:
            found.append(self.above[found[-1]])
        return found

    def path(self, start, end):
        if start not in self.nodes or end not in self.nodes:
            return None
        up, down = self.line(start), self.line(end)
        top = next(node for node in up if node in down)
        return up[:up.index(top) + 1] + down[:down.index(top)][::-1]

    def targets(self, asker, query):
        if query["scope"] == "lineage":
            return {node for node in self.nodes if asker in self.line(node)} | set(self.line(asker))
        return self.nodes if query["scope"] == "federation" else set(query["targets"])


def outcome_of(asker, tree, suspended, target, answers, refusals, accounts, subjects):
    ranks = [answers[target, subject][0] for subject in range(subjects) if (target, subject) in answers]
    refusal = refusals.get(target)
    if len(ranks) == subjects and (refusal is None or refusal[0] < max(ranks)):
        return "answered", ""
    if refusal:
        return "refused", refusal[2]["rule"]
    path = tree.path(asker, target)
    if path is None:
        return "unknown_node", ""
    if target in suspended:
        return "suspended", ""
    for place, (node, following) in enumerate(zip(path, path[1:])):
        omitted = "omitted", " ".join(path[1:max(place, 1) + 1])
        if node not in accounts:
            return omitted if place else ("pending", "")
        account = accounts[node][3]
        rejected = next((row for row in account["rejected"] if row["node"] == target), None)
        if rejected:
            known = rejected["outcome"] in ("bad_proof", "not_trusted")
            return (rejected["outcome"], f"{node} {rejected['why']}") if known else omitted
        seen = next((row["outcome"] for row in account["neighbours"] if row["node"] == following), None)
        if seen is None or seen == "pending" and place == 0:
            return omitted if place else ("pending", "")
        if seen == "refused_on_way":
            stopped = next((at for at in (following, node) if at in refusals), None)
            return ("refused_on_way", f"{stopped} {refusals[stopped][2]['rule']}") if stopped else (
                "omitted", " ".join(path[1:place + 2]))
        if seen in ("pending", "omitted", "suspended", "unknown_node"):
            return omitted
        if seen not in ("answered", "refused"):
            return seen, following
    return ("pending", "") if len(path) == 1 else ("omitted", " ".join(path[1:]))


def statements_of(runs):
    """Each statement as (entry, leaf hash, (log number, index), body)."""
    return [(entry, leaf.hex(), (int(origin.split("/")[3]), first + place), body)
            for origin, first, run in runs for place, (entry, leaf, body) in enumerate(run)]


def canonical(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def gather(statements, leaf, query, targets, on_way=frozenset()):
    """What counts of what was said about a question: the last word of each node about each subject, its refusal, its account."""
    words = {"answer": {}, "refusal": {}, "account": {}}
    for entry, own, rank, line in statements:
        kind, node = entry["kind"], entry["log"].split("/")[2]
        if kind not in words or entry["re"] != leaf or kind == "answer" and entry["time"] >= query["expires"]:
            continue
        need(line is not None, "a sealed body")
        body = strict(line)
        need(kind != "answer" or entry["subject"] < query["subjects"] and node in targets and [
            said["category"] for said in body["categories"]] == query["categories"], "not asked")
        need(not on_way or node in targets or node in on_way, "of neither a target nor a relay")
        place = (node, entry["subject"]) if kind == "answer" else node
        held = words[kind].get(place)
        if held is None or rank > held[0] or rank == held[0] and own < held[1]:
            words[kind][place] = rank, own, entry, body
    return words


def merge(statements, registry, suspended=frozenset()):
    """The merged result's bytes, from verified statements in any order."""
    asked = {leaf: entry for entry, leaf, _, _ in statements if entry["kind"] == "query"}
    (leaf, query), = asked.items()
    targets = Tree(registry).targets(query["log"].split("/")[2], query)
    return merged(gather(statements, leaf, query, targets), leaf, query, registry, suspended)


def merged(words, leaf, query, registry, suspended):
    """The merged result's bytes, from what counts."""
    asker, tree = query["log"].split("/")[2], Tree(registry)
    targets, subjects = tree.targets(asker, query), query["subjects"]
    holds = {row["code"]: row["categories"] for row in registry["nodes"]}
    answers, refusals, accounts = words.values()
    facts, gaps, told, complete = {}, [], set(), True
    for (node, subject), (_, own, _, body) in answers.items():
        for said in body["categories"]:
            name, status = said["category"], said["status"]
            held = name in holds.get(node, [])
            why = {"name_mismatch": "name_mismatch", "refused": said["rule"], "unavailable": said["why"],
                   "found": "truncated" if said["truncated"] else None,
                   "not_held": "not_held" if held else None}.get(status)
            if why:
                gaps.append(dict(subject=subject, category=name, node=node, why=why))
                complete = False
            if status not in ("not_held", "refused"):
                told.add(name)
            for record in said["records"]:
                key = canonical([record["fields"][field["id"]] for field in CATEGORIES[name] if field.get("key")])
                row = facts.setdefault((str(subject), name, key), {}).setdefault(canonical(record["fields"]), set())
                row.add((record["as_of"], own, node))
    unheld = [name for name in query["categories"] if name not in told
              and not any(name in holds.get(target, []) for target in targets)]
    complete = complete and not unheld and all((target, subject) in answers for target in targets
                                               for subject in range(subjects))
    outcomes = []
    for target in sorted(targets):
        outcome, detail = outcome_of(asker, tree, suspended, target, answers, refusals, accounts, subjects)
        outcomes.append(dict(node=target, outcome=outcome, detail=detail))
    said = []
    for (subject, name, key), ways in sorted(facts.items()):
        rows = []
        for fields, sources in sorted(ways.items()):
            sources = sorted(sources, key=lambda source: source[1:])
            sources.sort(key=lambda source: source[0], reverse=True)
            rows.append(dict(as_of=sources[0][0], fields=json.loads(fields), sources=[
                dict(node=node, as_of=as_of, statement=own) for as_of, own, node in sources]))
        rows.sort(key=lambda row: row["as_of"], reverse=True)
        said.append(dict(subject=int(subject), category=name, key=key, conflict=len(rows) > 1, rows=rows))
    gaps.sort(key=lambda gap: (gap["subject"], gap["category"], gap["node"]))
    return canonical(dict(query=leaf, complete=complete, outcomes=outcomes, facts=said, gaps=gaps, unheld=unheld))
