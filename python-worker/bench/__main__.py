"""A worker with another scheduler: `python -m bench --policy batches --policy-rows 8 …`.

It accepts the worker's own options too. It handles no signals and does not watch its parent: it
ends when its gateway tells it to, or when it is killed.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from bench.policies import POLICIES
from bench.recorder import Recorder
from easel_worker import specs
from easel_worker.engines import ENGINES
from easel_worker.exit_status import ExitStatus
from easel_worker.logs import Logger
from easel_worker.loop import Loop
from easel_worker.mailbox import Mailbox
from easel_worker.parent import exit_with_parent
from easel_worker.process_options import ProcessOptions, load
from easel_worker.transport import Address, Transport
from easel_worker.vitals import Vitals


def main() -> None:
    """Run the worker and exit with its status."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--policy", required=True, choices=tuple(POLICIES))
    parser.add_argument("--policy-rows", required=True, type=int, help="rows per step")
    parser.add_argument(
        "--record", required=True, type=Path, help="output file of the images' times"
    )
    ours, rest = parser.parse_known_args()
    options = load(rest, os.environ)
    log = Logger(options.log_level, worker=options.name, pid=os.getpid())
    if options.exit_with_parent:
        exit_with_parent()
    sys.exit(_serve(ours, options, log))


def _serve(ours: argparse.Namespace, options: ProcessOptions, log: Logger) -> ExitStatus:
    mailbox, vitals = Mailbox(), Vitals()
    with ours.record.open("w", buffering=1, encoding="utf-8") as lines:
        build = ENGINES[options.engine].build
        engine = Recorder(build(options.model, options.of_engine, None), lines)
        engine.warm(log.debug)
        while engine.capabilities.coming:  # a real engine compiles further sizes behind
            time.sleep(0.1)
        hello = specs.hello(engine.capabilities, options.name)
        address = Address(options.connect, options.name)
        transport = Transport(address, lambda: hello, mailbox, heartbeat=vitals.heartbeat, log=log)
        transport.start()
        scheduler = POLICIES[ours.policy](ours.policy_rows)
        try:
            loop = Loop(engine, transport, mailbox, vitals=vitals, log=log, scheduler=scheduler)
            return loop.run()
        finally:
            transport.close()


if __name__ == "__main__":
    main()
