"""Serves a policy over openpi's websocket protocol.

    python -m ript.serve --pretrained-path runs/spatial/checkpoints/step_100/policy
    python -m ript.serve --pretrained-path /models/pi0_libero --tokenizer tokenizer.json --dtype bfloat16 --port 8001

Whatever talks to openpi's server talks to this one, such as openpi's LIBERO example: the same observation keys, the
same answers. It listens on this machine only unless --host says otherwise; there is no password.
"""

import argparse
import asyncio
import logging
import signal
import sys

from ript import checks
from ript.policy_options import add_policy_options

logger = logging.getLogger("ript.serve")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.serve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    policy = parser.add_argument_group("policy").add_argument
    policy("--pretrained-path", metavar="FOLDER", help="policy folder (default: the small π0 that ships)")
    policy("--norm-stats", metavar="FILE", help="normalisation statistics (default: those in the folder)")
    policy("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one in the folder)")
    policy("--condition-mode", default="concat", help="concat, bias or token; the policy's own (default: %(default)s)")
    add_policy_options(policy)
    policy("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: %(default)s)")
    policy("--dtype", default="float32", help="float32, or bfloat16 for half the memory (default: %(default)s)")
    inference = parser.add_argument_group("inference").add_argument
    inference("--cfg-scale", type=float, default=1.0, metavar="W", help="guidance; 1 is none (default: %(default)s)")
    inference("--num-steps", type=int, default=10, metavar="N", help="denoising steps (default: %(default)s)")
    inference("--default-prompt", metavar="TEXT", help="for observations without one (default: they are refused)")
    inference("--seed", type=int, metavar="N", help="every connection gets the same noise (default: fresh noise)")
    network = parser.add_argument_group("network").add_argument
    network("--host", default="127.0.0.1", help="address; 0.0.0.0 lets other machines in (default: %(default)s)")
    network("--port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    network(
        "--max-message-mb", type=int, default=16, metavar="MB", help="longer ones are refused (default: %(default)s)"
    )
    network(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let this page's clients in; repeatable",
    )
    network("--max-connections", type=int, default=16, metavar="N", help="at one time (default: %(default)s)")
    return parser.parse_args(arguments)


def check_options(options: argparse.Namespace) -> None:
    """Before anything slow is loaded. Raises ValueError naming option, value and what is valid."""
    checks.one_of("device", options.device, ("auto", "cpu", "cuda"))
    checks.in_range("cfg_scale", options.cfg_scale, 0)
    checks.in_range("port", options.port, 0, 65535)
    for name, low in (("num_steps", 1), ("seed", 0), ("max_message_mb", 1), ("max_connections", 1)):
        checks.whole_number(name, getattr(options, name), low)


def serve(options: argparse.Namespace) -> int:
    """Loads the policy and serves it until a signal comes. Returns the exit code: 0 for Ctrl-C, 143 for SIGTERM."""
    from ript.serve.inference import PolicyInference, load_policy
    from ript.serve.server import PolicyServer

    policy = load_policy(options)
    logger.info("%s on %s", policy.kind, policy.device)
    inference = PolicyInference(policy, options.cfg_scale, options.default_prompt, options.seed)
    server = PolicyServer(inference, options.max_message_mb * 2**20, options.max_connections, options.allow_origin)

    async def until_stopped() -> int:
        loop = asyncio.get_running_loop()
        stopped: asyncio.Future[int] = loop.create_future()
        for number, code in ((signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)):
            loop.add_signal_handler(number, _resolve, stopped, code)
        async with server.listen(options.host, options.port) as port:
            logger.info("serving ws://%s:%d", options.host, port)
            code = await stopped
            logger.info("stopping")
        return code

    return asyncio.run(until_stopped())


def _resolve(future: asyncio.Future[int], code: int) -> None:
    if not future.done():
        future.set_result(code)


def main() -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    options = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.ERROR)
    try:
        check_options(options)
        code = serve(options)
    except KeyboardInterrupt:  # while the policy was loading
        code = 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
