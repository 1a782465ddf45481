"""config → engine → warm → connect → loop."""

import faulthandler
import os
import sys

from easel_worker import engines, jobs
from easel_worker.config import Config, load
from easel_worker.engine import Engine
from easel_worker.exit_status import ExitStatus
from easel_worker.failures import did_not_start
from easel_worker.logs import Logger, capture
from easel_worker.loop import Loop
from easel_worker.mailbox import Leave, Mailbox
from easel_worker.signals import Signals, exit_with_parent
from easel_worker.transport import Address, CurveKeys, Transport
from easel_worker.vitals import Vitals
from easel_worker.watchdog import Watchdog


def main() -> None:
    """Run a worker, and end the process with its status."""
    config = load(sys.argv[1:], os.environ)
    log = Logger(config.log_level, worker=config.name, pid=os.getpid())
    capture(log)
    faulthandler.enable()  # a crash in native code leaves the stacks behind, as plain text
    signals = Signals(log, config.drain_grace_s)
    if config.exit_with_parent:
        exit_with_parent(log)
    sys.exit(_run(config, log, signals))


def _run(config: Config, log: Logger, signals: Signals) -> ExitStatus:
    try:
        engine = engines.build(config)
        engine.warm(log.info)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and ends the process
        return did_not_start(error, log)
    return _serve(config, engine, log, signals)


def _serve(config: Config, engine: Engine, log: Logger, signals: Signals) -> ExitStatus:
    mailbox, vitals = Mailbox(), Vitals()
    hello = jobs.hello(engine.capabilities, config.name)
    transport = Transport(_address(config), hello, mailbox, heartbeat=vitals.heartbeat, log=log)
    signals.on_first(lambda: mailbox.put(Leave(config.drain_grace_s, "the worker got a signal")))
    log.info("ready, connecting", endpoint=config.connect, sizes=engine.capabilities.sizes)
    transport.start()
    watchdog = Watchdog(vitals, config.step_timeout_s, log)
    if config.step_timeout_s > 0:
        watchdog.start()
    try:
        return Loop(engine, transport, mailbox, vitals=vitals, log=log).run()
    finally:
        watchdog.stop()
        transport.close()


def _address(config: Config) -> Address:
    keys = None
    if config.curve_server_key is not None and config.curve_secret_key is not None:
        keys = CurveKeys(config.curve_server_key, config.curve_secret_key)
    return Address(config.connect, config.name, keys)


if __name__ == "__main__":
    main()
