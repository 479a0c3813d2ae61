#!/usr/bin/env python3
"""Judges the chains of x509-limbo with `sanku certs check --lines` under profile `path`.

usage: limbo.py LIMBO.json [SANKU]

Prints each case whose verdict differs from what limbo expects. A chain that is accepted although limbo refuses it must stand
in ACCEPTED with its reason, else the exit code is 1; what is refused although limbo accepts it must stand in REFUSED.
"""

import json
import subprocess
import sys

# RFC 5280 allows it; the rules of public web authorities do not.
ACCEPTED = {
    "webpki::cn::": "the common name is free text; only SANs name anybody",
    "webpki::eku::ee-anyeku": "any usage may stand beside the server's own",
    "webpki::eku::ee-critical-eku": "extended key usage may be critical",
    "webpki::eku::ee-without-eku": "no extended key usage means every usage; limbo's rfc5280 twin accepts it",
    "webpki::eku::root-has-eku": "a root may limit its usage",
    "webpki::aki::root-with-aki-authoritycert": "issuer and serial may stand beside the key's identifier",
    "webpki::aki::root-with-aki-all-fields": "issuer and serial may stand beside the key's identifier",
    "webpki::san::public-suffix": "no list of public suffixes is kept",
    "pathlen::max-chain-depth": "the document has no such limit",
}
# Stricter than RFC 5280, or a constraint that nobody compares here and that is therefore refused.
REFUSED = {
    "cve::cve-2024-0567": "a root that another authority signed names that one's key",
    "pathlen::validation-ignores-pathlen-in-leaf": "a leaf is never an authority",
    "rfc5280::ca-as-leaf": "a leaf is never an authority",
    "pathlen::self-issued-certs-pathlen": "self-issued authorities count",
    "rfc5280::nc::permitted-dn-match": "constraints on directory names are refused",
    "rfc5280::nc::permitted-self-issued": "constraints apply to self-issued authorities too",
    "rfc5280::nc::nc-permits-email": "constraints on mail addresses are refused",
    "online::fastly.com": "its root's serial is nought, which RFC 5280 forbids",
    "webpki::nc::permitted-dns-match-noncritical": "RFC 5280 wants name constraints critical",
}


def known(table, name):
    return any(name.startswith(prefix) for prefix in table)


def main():
    cases = json.load(open(sys.argv[1]))
    cases = cases["testcases"] if isinstance(cases, dict) else cases
    sanku = sys.argv[2] if len(sys.argv) > 2 else "sanku"
    lines = []
    for case in cases:
        name = case["expected_peer_name"]
        lines.append(json.dumps({
            "roots": case["trusted_certs"],
            "intermediates": case["untrusted_intermediates"],
            "leaf": case["peer_certificate"],
            "crls": case["crls"],
            "time": case["validation_time"] or "2026-11-25T00:00:00Z",
            "role": case["validation_kind"].lower(),
            "expect": name["value"] if name and name["kind"] != "RFC822" else None,
            "profile": "path",
        }))
    ran = subprocess.run([sanku, "certs", "check", "--lines"], input="\n".join(lines) + "\n", capture_output=True, text=True)
    verdicts = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(verdicts) == len(cases), ran.stderr
    wrong, agreed = 0, 0
    for case, verdict in zip(cases, verdicts):
        expected, accepted = case["expected_result"] == "SUCCESS", verdict.get("accepted", False)
        if expected == accepted:
            agreed += 1
            continue
        listed = known(ACCEPTED if accepted else REFUSED, case["id"])
        wrong += not listed
        said = verdict.get("reason") or verdict["error"]["message"]
        print("known" if listed else "WRONG", "accepted" if accepted else "refused", case["id"], said, verdict.get("detail", ""))
    print(f"{len(cases)} chains: {agreed} as expected, {len(cases) - agreed - wrong} known differences, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
