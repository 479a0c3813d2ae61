"""Judges evidence files and files about forks from the root's fingerprint alone: PROTOCOL.md §10 and §11."""

import json

from reader import (DOCUMENT, Invalid, Tree, checkpoint_of, consistent, cosigned_by, events, gather, merged, need, sha, signed_by,
                    statements_of, strict, verified_run)
from trust import millis, trust_of

DAY = 24 * 3600 * 1000


def verify(file, fingerprint, newer=(), now=None):
    """What a file proves: the merged result, and the lines of runs that are witnessed and that are not."""
    notes, runs, order, result = [], [], [], None
    for line, letter, parts in events(decoded(file)):
        need(result is None and letter in "NPKM", "a line that evidence does not have here")
        if letter == "N":
            notes.append(parts)
        elif letter == "M":
            result = parts
        else:
            order.append((line, letter, parts))
            runs += [(line, parts)] if letter == "P" else []
    need(result is not None, "the merged result is missing")
    trust = trust_of([*notes, *newer], fingerprint, now)
    need(not trust.refused and not trust.forks, f"notes: {trust.refused} {len(trust.forks)} forks")
    leaf, entry, body, asker = question(runs)
    newest, last_entry, last_body = newest_result(runs, leaf, asker)
    seen = witnessed(trust, order)
    verified = []
    for line, parts in runs:
        cosigned = seen.get((parts[1], checkpoint_of(parts[0])[1]))
        try:
            verified.append(verified_run(parts, trust.log_key(parts[1], newest)))
        except Invalid:
            need(cosigned is not None, f"line {line}: a run that counts no more")
            verified.append(verified_run(parts, trust.log_key(parts[1], cosigned, True)))
    keeps_rules(trust, entry, body)
    registry = trust.registry_by(entry["registry"])
    tree = Tree(registry)
    targets = tree.targets(asker, entry)
    need(targets and len(targets) <= 4096, "targets")
    on_way = {asker}.union(*(tree.path(asker, target) or [] for target in targets))
    said = [statement for statement in statements_of(verified) if statement[0]["kind"] not in ("query", "result")]
    need(all(statement[0]["kind"] in ("answer", "refusal", "account") and statement[0]["re"] == leaf for statement in said),
         "a statement that is no part of the case")
    words = gather(said, leaf, entry, targets, on_way)
    covered = sorted(word[1] for kind in words.values() for word in kind.values())
    need(covered == last_body["merged"], "the result covers other statements")
    claimed = {row["node"] for row in strict(result)["outcomes"] if row["outcome"] == "suspended"}
    suspended = {node for node in claimed & targets if trust.out(node, {"node", "suspended"}, archived=True)}
    anew = merged(words, leaf, entry, registry, suspended)
    need(anew == result, "the merged result, computed anew, is another")
    need(last_body["digest"] == sha(anew.encode()).hex() and last_entry["complete"] == json.loads(anew)["complete"], "the result's digest")
    places = {line: (parts[1], checkpoint_of(parts[0])[1]) in seen for line, parts in runs}
    return {"merged": anew, "witnessed": [line for line in places if places[line]],
            "unwitnessed": [line for line in places if not places[line]]}


def decoded(file):
    try:
        return file.decode()
    except UnicodeDecodeError as error:
        raise Invalid("not UTF-8") from error


def question(runs):
    found = [(entry, leaf, body) for _, parts in runs for entry, leaf, body in parts[3] if entry["kind"] == "query"]
    need(len(found) == 1 and found[0][2], "not exactly one open question")
    entry, leaf, body = found[0]
    return leaf.hex(), entry, strict(body), entry["log"].split("/")[2]


def newest_result(runs, leaf, asker):
    """When the newest result was said, its entry and body; each names the one before."""
    found = {}
    for _, (_, origin, first, run, _) in runs:
        for place, (entry, own, body) in enumerate(run):
            if entry["kind"] == "result":
                need(entry["re"] == leaf and origin.split("/")[2] == asker and body, "not the asker's open result")
                found[int(origin.split("/")[3]), first + place] = own.hex(), entry, strict(body)
    need(found, "no result")
    chain = [found[place] for place in sorted(found)]
    need(all(later[2]["supersedes"] == before[0] for before, later in zip(chain, chain[1:])), "it supersedes another")
    return millis(chain[-1][1]["time"]), chain[-1][1], chain[-1][2]


def keeps_rules(trust, entry, body):
    """The question keeps its own rules at the time of its entry."""
    asked, mandate = entry["time"], body["mandate"]
    numbers = [subject["number"] for subject in body["subjects"]]
    need(len(numbers) == entry["subjects"] and len(set(numbers)) == len(numbers), "its subjects")
    need(asked < entry["expires"], "expired")
    need(entry["purpose"] == mandate["purpose"] and mandate["valid_from"] <= asked <= mandate["valid_until"], "mandate_not_in_force")
    need(set(numbers) <= set(mandate["subjects"]), "mandate_subject")
    need(set(entry["categories"]) <= set(mandate["categories"]), "mandate_category")
    need(body["examiner"]["staff_number"] != body["approver"]["staff_number"], "same_person")
    need(entry["catalogue"] == DOCUMENT["version"], "another catalogue")
    registry = trust.registry_by(entry["registry"])
    need(registry, "its registry is not in the file")
    replaced = trust.replaced_at(entry["registry"]["number"])
    need(replaced is None or millis(asked) <= replaced + DAY, "its registry was replaced long before")
    need(asked <= registry["grace_until"], "its registry ran out")


# --- witnesses ---------------------------------------------------------------------------------------------------------


def witnessed(trust, order):
    """When the cosignature that counts was made, by log and size, over K lines too; two checkpoints of one size have one root."""
    roots, made, links = {}, {}, []

    def note(origin, checkpoint):
        _, size, root = checkpoint_of(checkpoint)
        need(roots.setdefault((origin, size), root) == root, "two checkpoints of a log that do not agree")
        at = cosigned(trust, origin.split("/")[2], checkpoint)
        if at is not None:
            made.setdefault((origin, size), at)
        return size, root

    for _, letter, parts in order:
        if letter == "P":
            checkpoint, origin = parts[:2]
            if checkpoint_of(checkpoint)[0] == origin:
                note(origin, checkpoint)
            continue
        checkpoint, origin, old, proof = parts
        need(signed_by(checkpoint, trust.log_row(origin)[1]["key"]) and checkpoint_of(checkpoint)[0] == origin, "a K line of another log")
        need((origin, old) in roots, "a K line from no checkpoint of the file")
        _, size, root = checkpoint_of(checkpoint)
        consistent(old, roots[origin, old], size, root, proof)
        note(origin, checkpoint)
        links.append((size, origin, old))
    for size, origin, old in sorted(links, reverse=True):
        if (origin, size) in made:
            made.setdefault((origin, old), made[origin, size])
    return made


def cosigned(trust, node, checkpoint):
    """When the cosignature that counts was made on this checkpoint, in Unix milliseconds."""
    found = []
    for name, _, signature in checkpoint[1]:
        words = name.split("/")
        if len(signature) != 72 or words[:-1] != [trust.federation, "witness"]:
            continue
        seconds = int.from_bytes(signature[:8])
        # Notes count milliseconds: what began within the second had begun.
        registry = trust.registry_at(seconds * 1000 + 999)
        row = next((row for row in (registry or {"nodes": []})["nodes"] if row["code"] == words[-1]), None)
        for key in row["witness_keys"] if row else []:
            good = millis(key["from"]) <= seconds * 1000 + 999 and seconds * 1000 <= millis(key["until"])
            if good and not trust.key_revoked(row["code"], key["key"], seconds * 1000) and cosigned_by(checkpoint, key["key"]) == seconds:
                found.append((seconds * 1000, row["code"]))
    for at, _ in sorted(found):
        tree, by = Tree(trust.registry_at(at + 999)), {code for time, code in found if time <= at}
        if node in tree.nodes:
            children = [code for code, above in tree.above.items() if above == node]
            superior = tree.above[node]
            if superior in by if superior else 2 * len(by.intersection(children)) > len(children):
                return at
    seconds = cosigned_by(checkpoint, trust.newest("root")["witness"])
    registry = trust.newest("registry")
    tops = [code for code, above in Tree(registry).above.items() if above is None] if registry else []
    return seconds * 1000 if seconds is not None and node in tops else None


# --- forks ---------------------------------------------------------------------------------------------------------------


def verify_fork(file, fingerprint, now=None):
    """What forked, if the file proves it: a log's origin or a note's name."""
    notes, proof = [], None
    for _, letter, parts in events(decoded(file)):
        need(letter == "N" or letter == "F" and proof is None, "a line that belongs in no file about a fork")
        if letter == "N":
            notes.append(parts)
        else:
            proof = parts
    trust = trust_of(notes, fingerprint, now)
    need(not trust.refused, f"notes: {trust.refused}")
    if proof is None:
        need(trust.forks, "nothing in the file disagrees")
        return trust.forks[0].name
    smaller, larger, origin, size, root, hashes = proof
    key = trust.log_row(origin)[1]["key"]
    need(signed_by(smaller, key) and signed_by(larger, key), "a checkpoint that the log's key did not sign")
    (first, old, old_root), (second, new, new_root) = checkpoint_of(smaller), checkpoint_of(larger)
    need(first == second == origin and size == old, "checkpoints of another log or size")
    consistent(old, root, new, new_root, hashes)
    need(root != old_root, "one is the beginning of the other")
    return origin
