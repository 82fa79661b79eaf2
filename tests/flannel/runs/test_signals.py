"""A signal ends a command with its own status and a sentence, wherever it arrives."""

import os
import signal
import subprocess
import sys

import pytest

from flannel.runs.program import speaks_plainly
from flannel.runs.signals import ENDING, Stopped, heeding_signals

COMMAND = """
import multiprocessing, os, signal, sys, time
from flannel.runs.program import speaks_plainly

class Final:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0)  # the handler runs here, and its exception is lost

def waits():
    time.sleep(60)

def finalises():
    Final()
    waits()

def forks():
    child = multiprocessing.get_context("fork").Process(target=waits)
    child.start()
    time.sleep(0.5)  # a signal that arrives while Python forks is forgotten
    child.terminate()
    child.join()
    print(child.exitcode)
    return 0

def command():
    print("ready", flush=True)
    return {"waits": waits, "finalises": finalises, "forks": forks}[sys.argv[1]]()

sys.exit(speaks_plainly(command))
"""


def start(what, *before):
    words = [*before, sys.executable, "-c", COMMAND, what]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", ENDING)
def test_a_command_ends_with_the_signals_status_and_a_sentence(number):
    process = start("waits")
    process.send_signal(number)
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    name = signal.Signals(number).name
    assert printed == f"Stopped by {name}. The same command goes on with what is finished.\n"


def test_a_signal_that_arrives_in_a_finaliser_is_not_lost():
    process = start("finalises")
    _, printed = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    assert printed.startswith("Stopped by SIGTERM.")


def test_forked_processes_end_by_signals_as_any_other():
    process = start("forks")
    assert process.communicate(timeout=20) == (f"{-signal.SIGTERM}\n", "")


def test_what_is_ignored_stays_ignored():
    process = start("waits", "nohup")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in ENDING]
    hook = sys.unraisablehook
    with pytest.raises(Stopped) as stopped, heeding_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.signal is signal.SIGTERM
    assert [signal.getsignal(number) for number in ENDING] == before
    assert sys.unraisablehook is hook


def test_no_error_handler_takes_a_signal_for_an_error():
    def careless() -> int:
        try:
            raise Stopped(signal.SIGHUP)
        except Exception:
            return 0

    assert speaks_plainly(careless) == 128 + signal.SIGHUP
