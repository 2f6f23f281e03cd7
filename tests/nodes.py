"""Nodes as processes: what the proofs in Python share. Python 3 and nothing beside it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SKIPPED = 75
READY = 60


class Failed(Exception):
    """The proof failed, and why."""


def skip(reason):
    """Ends a proof that cannot be made here; the last line says why."""
    print(reason, flush=True)
    sys.exit(SKIPPED)


def say(text):
    print(text, flush=True)


def need(command, package):
    """A command of the system, installed if it is missing and can be."""
    if shutil.which(command):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        line = ["apt-get", "install", "-y", "-q", package]
        try:
            subprocess.run(line, stdout=sys.stderr, stderr=sys.stderr, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pass
    if not shutil.which(command):
        skip(f"the command {command} ({package}) is missing")


def until(what, condition, limit=60, every=0.01):
    """Waits until a condition holds, and answers with what it says."""
    end = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise Failed(f"not within {limit} s: {what}")
        time.sleep(every)


def free_addresses(count):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def main(proof):
    """Runs a proof in a folder of its own, which goes with it however it ends: `proof(folder)`
    returns the last line to print."""
    def stopped(number, _):
        raise Failed(f"stopped by signal {number}")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    folder = Path(tempfile.mkdtemp(prefix="paxos-proof-"))
    try:
        say(proof(folder))
    except Failed as failed:
        say(f"FAILED: {failed}")
        sys.exit(1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """A cluster whose nodes are processes of this one."""

    def __init__(self, counter, folder, nodes=3, **settings):
        self.counter, self.folder = str(Path(counter).resolve()), folder
        self.addresses = free_addresses(nodes)
        self.file = folder / "cluster.toml"
        self.nodes = range(1, nodes + 1)
        self.running = {}
        self.homes = {node: folder / f"node-{node}" for node in self.nodes}
        line = [self.counter, "init", "--nodes", ",".join(self.addresses), "--dir", str(folder)]
        subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        text = self.file.read_text()
        for name, value in settings.items():
            value = f'"{value}"' if isinstance(value, str) else value
            text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
            if count != 1:
                raise Failed(f"no setting {name} in the cluster file")
        self.file.write_text(text)

    def data(self, node):
        return self.homes[node] / "data"

    def serve(self, node, before=()):
        """Starts a node, perhaps by another program that is to start it."""
        line = [*before, self.counter, "serve", "--cluster", str(self.file), "--node", str(node)]
        line += ["--identity", str(self.homes[node]), "--until-stdin-closes"]
        log = open(self.folder / f"node-{node}.log", "ab")
        # A group of its own: what starts the node is killed with it.
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        log.close()
        self.running[node] = process
        return process

    def ready(self, node):
        """Waits until a node says that it is ready; `False`: it ended instead."""
        process = self.running[node]
        for line in process.stdout:
            if line.startswith(f"node {node} ready".encode()):
                return True
        process.wait()
        return False

    def start(self, *nodes, before=()):
        for node in nodes:
            self.serve(node, before)
        for node in nodes:
            if not self.ready(node):
                raise Failed(f"node {node} does not start; the end of its log:\n{self.told(node)}")

    def kill(self, *nodes):
        """SIGKILL to all of them, none after another has noticed."""
        for node in nodes:
            os.killpg(self.running[node].pid, signal.SIGKILL)
        for node in nodes:
            self.end(node)

    def stop(self, node):
        """Tells a node to stop, by closing its stdin, and says how it ended."""
        self.running[node].stdin.close()
        self.running[node].wait(timeout=READY)
        return self.end(node)

    def end(self, node):
        process = self.running.pop(node)
        process.wait()
        process.stdout.close()
        return process.returncode

    def told(self, node, lines=12):
        log = (self.folder / f"node-{node}.log").read_text(errors="replace")
        return "\n".join(log.splitlines()[-lines:])

    def command(self, *words):
        """A command of a client, as a line."""
        return [self.counter, *words, "--cluster", str(self.file)]

    def run(self, *words, limit=180):
        """Runs a command of a client to its end."""
        line = self.command(*words)
        done = subprocess.run(line, capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def json(self, *words):
        return json.loads(self.run(*words, "-o", "json"))

    def status(self):
        return self.json("status")

    def leader(self):
        return until("a node leads", lambda: self.status().get("leader"))

    def level(self, limit=60):
        """Waits until every node has applied equally much."""
        def same():
            applied = [node.get("applied") for node in self.status()["nodes"]]
            return applied[0] and all(one == applied[0] for one in applied)
        until("all nodes have applied equally much", same, limit)

    def verify(self, node):
        """Has the log of a node that does not run read."""
        words = ["log", "verify", "--node", str(node), "--identity", str(self.homes[node])]
        text = self.run(*words)
        if not text.endswith("sound"):
            raise Failed(f"the log of node {node} is not sound: {text}")
        return text

    def close(self):
        """Ends what runs."""
        for process in self.running.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.running.clear()


class Torture:
    """Clients that add 1 to a counter of their own and read it, one operation after the other each.

    Each increment is repeated under one name until it is answered, and each answer is a value that
    no other increment can have made: one that was answered and lost makes a value come twice, and
    one that ran twice makes the counter too great. `counter torture` judges that in the end."""

    def __init__(self, cluster, clients, ops):
        self.clients, self.ops = clients, ops
        self.history = cluster.folder / "history.jsonl"
        self.history.unlink(missing_ok=True)
        line = cluster.command("torture", "--clients", str(clients), "--ops", str(ops))
        line += ["--timeout", "1s", "--history", str(self.history)]
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.read, self.rest, self.answered = 0, b"", 0

    def acknowledged(self):
        """How many increments were answered so far, as far as the history is written out."""
        if self.history.exists():
            with open(self.history, "rb") as history:
                history.seek(self.read)
                new = history.read()
            self.read += len(new)
            *lines, self.rest = (self.rest + new).split(b"\n")
            self.answered += sum(b'"ok"' in line and b'"incr"' in line for line in lines)
        return self.answered

    def over(self):
        return self.process.poll() is not None

    def verdict(self, limit=180):
        """Waits for the end, and says what the counter is; every increment must be in it, once."""
        try:
            out, err = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise Failed("the load did not come to its end") from None
        last = (out.strip().splitlines() or [""])[-1]
        found = re.fullmatch(r"acknowledged (\d+), counter (\d+), lost 0, doubled 0", last)
        if self.process.returncode != 0 or not found or found[1] != found[2]:
            raise Failed(f"{last}: {err.strip()}")
        due = self.clients * (self.ops - self.ops // 4)
        if int(found[1]) != due:
            raise Failed(f"{found[1]} increments were acknowledged, not {due}")
        return due

    def close(self):
        if not self.over():
            self.process.kill()
            self.process.wait()
