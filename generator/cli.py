"""triton-repo: verbs only. Each lives in `commands/<verb>.py` as `command`, and is imported when it is called."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path

import click

import generator
from generator import commands
from generator.errors import TritonRepoError

INTERRUPTED = 130


class _Verbs(click.Group):
    """Finds verbs by file name, so that adding one edits nothing here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(info.name for info in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"generator.commands.{cmd_name}").command
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(generator.__version__, prog_name="triton-repo")
def cli() -> None:
    """From a trained checkpoint to a verified Triton model repository."""


def main() -> None:
    """Exit code: 0 done, 1 the user's mistake (one message), 130 interrupted, 3 a bug of ours (with a report to paste)."""
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        # An interrupt that went through text given to exec() (dataclasses do that) leaves a mark in CPython, which then ends
        # with the signal instead of our code. Everything that had to be undone has been by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    try:
        result = cli.main(arguments, prog_name="triton-repo", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except TritonRepoError as error:
        click.echo(f"error: {error}", err=True)
        return 1
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        return _bug(arguments)


def _bug(arguments: list[str]) -> int:
    report = (
        f"triton-repo {generator.__version__}, Python {sys.version.split()[0]}, arguments {arguments}\n{traceback.format_exc()}"
    )
    path = Path("triton-repo-bug.log")
    try:
        path.write_text(report, encoding="utf-8")
        where = f"the report is in {path.resolve()}"
    except OSError:
        where = report
    last = report.strip().splitlines()[-1]
    click.echo(f"bug: this is a mistake of triton-repo, not yours: {last}\n{where}; please send it to the project", err=True)
    return 3


if __name__ == "__main__":
    main()
