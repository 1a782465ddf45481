"""Starts a worker: reads the options, builds and warms the engine, connects, and runs the loop."""

import faulthandler
import os
import sys

from easel_worker.captured import capture
from easel_worker.ending import end_process
from easel_worker.engine import Engine
from easel_worker.engines import ENGINES
from easel_worker.exit_status import ExitStatus
from easel_worker.failures import did_not_start
from easel_worker.log_writer import STDERR
from easel_worker.logs import Logger
from easel_worker.loop import Loop
from easel_worker.mailbox import Leave, Mailbox
from easel_worker.news import News
from easel_worker.parent import exit_with_parent
from easel_worker.process_options import ProcessOptions, load
from easel_worker.signals import Signals
from easel_worker.timeline import Timeline
from easel_worker.transport import Address, CurveKeys, Transport
from easel_worker.vitals import Vitals
from easel_worker.watchdog import Watchdog


def main() -> None:
    """Run a worker, then end the process with the worker's exit status."""
    _open_standard_descriptors()
    timeline = Timeline()
    timeline.add("interpreter and imports", 0.0)
    options = load(sys.argv[1:], os.environ)
    if options.exit_with_parent:
        exit_with_parent()
    log = Logger(options.log_level, worker=options.name, pid=os.getpid())
    capture(log)
    # After a crash in native code the stacks are on stderr as plain text.
    faulthandler.enable(file=STDERR)
    signals = Signals(log, options.drain_grace_s)
    status = ExitStatus.FAILED
    try:
        status = _run(options, log, signals, timeline)
    except BaseException as error:  # noqa: BLE001 - any error ends the process
        log.fatal("the worker failed", err=error)
    finally:
        end_process(status, log)


def _open_standard_descriptors() -> None:
    """Open /dev/null for each standard descriptor that is closed.

    Otherwise the next socket or file would get its number, and log lines would go there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)


def _run(options: ProcessOptions, log: Logger, signals: Signals, timeline: Timeline) -> ExitStatus:
    try:
        with timeline.span("engine and its imports"):
            engine = ENGINES[options.engine].build(options.model, options.of_engine, timeline)
        engine.warm(log.info)
        log.info(
            f"ready after {timeline.now():.1f} s: {timeline.line()}", timeline=timeline.plain()
        )
    except Exception as error:  # noqa: BLE001 - any error is logged and ends the process
        return did_not_start(error, log)
    return _serve(options, engine, log, signals)


def _serve(options: ProcessOptions, engine: Engine, log: Logger, signals: Signals) -> ExitStatus:
    mailbox, vitals = Mailbox(), Vitals()

    news = News(engine, vitals, options.name, options.model_name)
    transport = Transport(_address(options), news.hello, mailbox, heartbeat=news.heartbeat, log=log)
    signals.on_first(lambda: mailbox.put(Leave(options.drain_grace_s, "the worker got a signal")))
    log.info("ready, connecting", endpoint=options.connect, sizes=engine.capabilities.sizes)
    transport.start()
    watchdog = Watchdog(vitals, options.step_timeout_s, log)
    if options.step_timeout_s > 0:
        watchdog.start()
    try:
        return Loop(engine, transport, mailbox, vitals=vitals, log=log).run()
    finally:
        watchdog.stop()
        transport.close()


def _address(options: ProcessOptions) -> Address:
    keys = None
    if options.curve_server_key is not None and options.curve_secret_key is not None:
        keys = CurveKeys(options.curve_server_key, options.curve_secret_key)
    return Address(options.connect, options.name, keys)


if __name__ == "__main__":
    main()
