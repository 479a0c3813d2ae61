"""A second implementation, from PROTOCOL.md alone: agrees with every vector, or judges one file. Ends with 1 if something does not hold.

Standard library and `cryptography`. Usage:
    python3 tests/python/verify.py federation-protocol/vectors
    python3 tests/python/verify.py evidence FILE FINGERPRINT     prints what it proves
    python3 tests/python/verify.py fork FILE FINGERPRINT         prints what forked
    python3 tests/python/verify.py flips FILE FINGERPRINT        changes bytes and leaves out lines of an evidence file that holds
"""

import json
import pathlib
import sys
import time

import evidence
from reader import Invalid, b64, entry_of, merge, need, open_sealed, runs_of, sha, statements_of
from trust import Note, Trust

# What reading strangers' bytes may end in: a form that is not there is a refusal, not a crash.
REFUSALS = (Invalid, ValueError, KeyError, TypeError, AttributeError, IndexError)


def verdict(judge, *arguments):
    """What it gives, or nothing if it is refused."""
    try:
        return judge(*arguments)
    except REFUSALS:
        return None


def flips(file, fingerprint, now):
    """Every line with a dozen of its bytes changed, and every line left out: how many were tried, the letters of changed lines that
    held all the same, and what held and proves something else."""
    whole, lines = evidence.verify(file, fingerprint, (), now), file.splitlines(keepends=True)
    tried, held, wrong = 0, set(), []

    def attempt(name, letter, changed):
        nonlocal tried
        tried += 1
        found = verdict(evidence.verify, changed, fingerprint, (), now)
        if found is not None:
            held.update(letter)
            if found["merged"] != whole["merged"] or len(found["witnessed"]) > len(whole["witnessed"]):
                wrong.append(name)

    for number, line in enumerate(lines, 1):
        before, after = lines[:number - 1], lines[number:]
        for at in range(0, len(line), max(1, len(line) // 12)):
            changed = line[:at] + (b"B" if line[at:at + 1] == b"A" else b"A") + line[at + 1:]
            attempt(f"line {number}, byte {at}", line[:1].decode(), b"".join([*before, changed, *after]))
        # Without a note that says nothing of the case it is the same case.
        attempt(f"without line {number}", "", b"".join(before + after))
    return tried, "".join(sorted(held)), wrong


def vectors(place):
    read = lambda name: json.loads((place / name).read_text(encoding="utf-8"))
    passed, failed = 0, []

    def check(name, good):
        nonlocal passed
        passed += good
        if not good:
            failed.append(name)

    streams = read("streams.json")
    for vector in streams["vectors"]:
        found = "invalid" if verdict(runs_of, vector["stream"], streams["keys"]) is None else "valid"
        check(vector["name"], found == vector["verdict"])
    for vector in read("acts.json")["vectors"]:
        found = "invalid" if verdict(entry_of, vector["entry"]) is None else "valid"
        check(f"acts: {vector['name']}", found == vector["verdict"])
    sealed = read("sealed.json")
    hint, body = sealed["sealed"].split(" ")
    secret = bytes.fromhex(sealed["secret"])
    check("sealed: hint", hint == sha(b64(sealed["public"])).hex()[:16] == sealed["hint"])
    check("sealed: opens", verdict(open_sealed, secret, b64(body), sealed["entry"].encode()) == sealed["body"].encode())
    check("sealed: another entry", verdict(open_sealed, secret, b64(body), b"{}") is None)
    notes = read("notes.json")
    for vector in notes["vectors"]:
        trust = Trust(notes["federation"], notes["fingerprint"], [Note(note) for note in vector["notes"]])
        in_force = {f"{notes['federation']}/{kind}": number for kind, number in trust.in_force.items()}
        count = sum(map(len, trust.held.values()))
        check(f"notes: {vector['name']}", (count, in_force) == (vector["accepted"], vector["in_force"]))
    merges = read("merge.json")
    for vector in merges["vectors"]:
        statements = [said for stream in vector["streams"] for said in statements_of(runs_of(stream, streams["keys"]))]
        for order, said in (("as sent", statements), ("backwards", statements[::-1]), ("twice", statements * 2)):
            check(f"merge: {vector['name']}, {order}", merge(said, merges["registry"]) == vector["merged"])
        check(f"merge: {vector['name']}, digest", sha(vector["merged"].encode()).hex() == vector["digest"])
    files = read("evidence.json")
    for vector in files["vectors"]:
        file = "".join(files["lines"][place] for place in vector["file"]).encode()
        found = verdict(evidence.verify, file, vector["fingerprint"], vector["newer"], files["now"])
        check(f"evidence: {vector['name']}", (found and found["witnessed"]) == vector["witnessed"])
        if found and not vector["newer"]:
            tried, held, wrong = flips(file, vector["fingerprint"], files["now"])
            # Of checkpoints alone a byte may change, in a cosignature that does not count.
            may = "C" if "cosign" in vector["name"] or "K line" in vector["name"] else ""
            check(f"evidence: {vector['name']}: changed lines that hold: {held}, {wrong}", tried > 100 and held in ("", may) and not wrong)
    forks = read("forks.json")
    for vector in forks["vectors"]:
        file = "".join(forks["lines"][place] for place in vector["file"]).encode()
        found = verdict(evidence.verify_fork, file, vector["fingerprint"], forks["now"])
        check(f"fork: {vector['name']}", found == vector["forked"])
    for name in failed:
        print(f"disagrees: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


def one(what, file, fingerprint):
    data, now = pathlib.Path(file).read_bytes(), round(time.time() * 1000)
    try:
        if what == "flips":
            tried, held, wrong = flips(data, fingerprint, now)
            need(not wrong, f"it holds and proves something else: {wrong}")
            print(json.dumps({"tried": tried, "held": held}))
        elif what == "fork":
            print(json.dumps({"forked": evidence.verify_fork(data, fingerprint, now)}))
        else:
            print(json.dumps(evidence.verify(data, fingerprint, (), now)))
        return 0
    except REFUSALS as error:
        print(f"it does not hold: {error!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(one(*sys.argv[1:]) if len(sys.argv) == 4 else vectors(pathlib.Path(sys.argv[1])))
