"""config → engine → warm → connect → loop."""

import faulthandler
import os
import sys
from dataclasses import replace

from easel_worker import specs
from easel_worker.captured import capture
from easel_worker.config import Config, load
from easel_worker.ending import end_process
from easel_worker.engine import Engine
from easel_worker.engines import ENGINES
from easel_worker.exit_status import ExitStatus
from easel_worker.failures import did_not_start
from easel_worker.log_writer import STDERR
from easel_worker.logs import Logger
from easel_worker.loop import Loop
from easel_worker.mailbox import Leave, Mailbox
from easel_worker.parent import exit_with_parent
from easel_worker.protocol import Heartbeat, Hello
from easel_worker.signals import Signals
from easel_worker.timeline import Timeline
from easel_worker.transport import Address, CurveKeys, Transport
from easel_worker.vitals import Vitals
from easel_worker.watchdog import Watchdog


def main() -> None:
    """Run a worker, and end the process with its status."""
    _open_standard_descriptors()
    timeline = Timeline()
    timeline.add("interpreter and imports", 0.0)
    config = load(sys.argv[1:], os.environ)
    if config.exit_with_parent:
        exit_with_parent()
    log = Logger(config.log_level, worker=config.name, pid=os.getpid())
    capture(log)
    # A crash in native code leaves the stacks behind, as plain text.
    faulthandler.enable(file=STDERR)
    signals = Signals(log, config.drain_grace_s)
    status = ExitStatus.FAILED
    try:
        status = _run(config, log, signals, timeline)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the process
        log.fatal("the worker failed", err=error)
    finally:
        end_process(status, log)


def _open_standard_descriptors() -> None:
    """Open /dev/null in the place of each standard descriptor that is closed.

    The next socket or file would get its number otherwise, and so the log's lines.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)


def _run(config: Config, log: Logger, signals: Signals, timeline: Timeline) -> ExitStatus:
    try:
        with timeline.span("engine and its imports"):
            engine = ENGINES[config.engine].build(config.model, config.options, timeline)
        engine.warm(log.info)
        log.info(
            f"ready after {timeline.now():.1f} s: {timeline.line()}", timeline=timeline.plain()
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and ends the process
        return did_not_start(error, log)
    return _serve(config, engine, log, signals)


def _serve(config: Config, engine: Engine, log: Logger, signals: Signals) -> ExitStatus:
    mailbox, vitals = Mailbox(), Vitals()

    def hello() -> Hello:
        return specs.hello(engine.capabilities, config.name, config.model_name)

    def heartbeat(session: str) -> Heartbeat:
        return replace(vitals.heartbeat(session), sizes=engine.capabilities.sizes)

    transport = Transport(_address(config), hello, mailbox, heartbeat=heartbeat, log=log)
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
