"""A Slurm of one node on loopback, below one folder, with its own ports; for tests."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
KillWait=1
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """Return the programs that are not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class SlurmNode:
    """Starts munged, slurmctld and slurmd in a folder; `environment` lets Slurm's commands find them."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.environment = {
            **os.environ,
            "SLURM_CONF": f"{self.folder}/slurm.conf",
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
        }
        self.processes = []

    def __enter__(self):
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        controller, node = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONF.format(user=user, controller=controller, node=node, folder=self.folder)
        )
        munge = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        try:
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *munge)
            _until(lambda: (self.folder / "munge.socket").exists(), "munged made no socket")
            self._start("slurmctld", "-D", "-i")
            self._start("slurmd", "-D", "-N", "localhost")
            _until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "the node is not idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait(30)

    def ask(self, *words):
        """Run a command of Slurm and return what it printed."""
        done = subprocess.run(words, capture_output=True, text=True, env=self.environment, check=False)
        return done.stdout

    def _start(self, *words):
        with (self.folder / f"{words[0]}.out").open("wb") as out:
            process = subprocess.Popen(
                words, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )
        self.processes.append(process)


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _until(state, complaint, patience=120):
    deadline = time.monotonic() + patience
    while not state():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)
