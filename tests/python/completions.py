"""Completes commands in real shells on a pseudo-terminal: as a person installs the scripts, and presses TAB.

Standard library alone. Usage: python3 tests/python/completions.py SANKU SHELL…
"""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

# Where each shell looks for a person's own completions, and how it is started without the machine's settings.
PLACES = {
    "bash": ".local/share/bash-completion/completions/sanku",
    "zsh": ".zfunc/_sanku",
    "fish": ".config/fish/completions/sanku.fish",
}
STARTS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-d", "-i"],
    "fish": ["fish", "-i"],
}
SETTINGS = {
    "bash": "source /usr/share/bash-completion/bash_completion; bind 'set show-all-if-ambiguous on'; bind 'set enable-bracketed-paste off'\n",
    "zsh": "fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit -u\n",
    "fish": "",
}
# What is typed before TAB, and what the shell must offer or write.
CASES = [
    ("sanku log ", ["verify", "checkpoint", "prove", "forks", "tiles"]),
    ("sanku log fork ", ["export", "verify"]),
    ("sanku evidence verify --wit", ["--witnessed"]),
    ("sanku federation add --cat", ["--categories"]),
]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()][A-Z0-9]|\x1b\][^\x07]*\x07|\x1b[=>]|[\r\x07\x08]")


class Terminal:
    """One shell on a pseudo-terminal of 80 columns."""

    def __init__(self, words, environment, folder):
        self.process, self.master = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvpe(words[0], words, environment)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode())

    def read(self, good, seconds=20):
        """What it shows until that is good, or the time is over."""
        shown, until = "", time.monotonic() + seconds
        while time.monotonic() < until and not good(shown):
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    shown += ESCAPES.sub("", os.read(self.master, 65536).decode(errors="replace"))
                except OSError:
                    break
        return shown

    def close(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.master)


def complete(shell, sanku):
    """What each case lacks."""
    with tempfile.TemporaryDirectory() as home:
        script = subprocess.run([sanku, "completions", shell], capture_output=True, check=True).stdout
        place = pathlib.Path(home, PLACES[shell])
        place.parent.mkdir(parents=True)
        place.write_bytes(script)
        binary = pathlib.Path(home, "bin")
        binary.mkdir()
        (binary / "sanku").symlink_to(pathlib.Path(sanku).resolve())
        environment = {"HOME": home, "PATH": f"{binary}:/usr/bin:/bin", "TERM": "xterm", "LANG": "C.UTF-8", "PS1": "> "}
        lacks = []
        for typed, wanted in CASES:
            terminal = Terminal(STARTS[shell], environment, home)
            try:
                terminal.send(SETTINGS[shell] + "echo rea''dy\n")
                terminal.read(lambda shown: "\nready" in shown)
                terminal.send(typed + "\t")
                offered = lambda shown: [word for word in wanted if word not in shown]
                shown = terminal.read(lambda shown: not offered(shown))
                if offered(shown):
                    lacks.append(f"{shell}: {typed!r} and TAB does not offer {offered(shown)}; it shows {shown!r}")
            finally:
                terminal.close()
        return lacks


def main(sanku, shells):
    lacks = [lack for shell in shells for lack in complete(shell, sanku)]
    print("\n".join(lacks) or f"{', '.join(shells)}: {len(CASES)} completions each")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
