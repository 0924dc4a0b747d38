"""lore-synth cache: what a reply cache holds, taking out what is no longer wanted, its entries as rows."""

from __future__ import annotations

import sys

import click

from lore_cli import errors
from lore_cli.commands.common import Output, Run, output_options, run_options
from lore_cli.commands.verbs import Verbs
from lore_cli.models.replies import ReplyStore

_DAY_S = 86_400


@click.group(cls=Verbs)
def cli() -> None:
    """The reply cache of --reply-cache: what it holds, taking out what is no longer wanted, its entries as rows.

    Runs may go on using the file meanwhile.
    """


@cli.command()
@run_options("synth cache stat")
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON, on standard output.")
def stat(run: Run, file: str, as_json: bool) -> int:
    """Entries, bytes and hits, per model.

    \b
    Example:
      $ python -c "from lore_cli.models.replies import *; ReplyStore('/tmp/replies.sqlite').add('served:m', [('0f', Stored('text', b'grade: L4'))])"
      $ lore-synth cache stat /tmp/replies.sqlite
    """
    import orjson

    found = ReplyStore(file, must_exist=True).stat()
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return errors.EXIT_DONE
    click.echo(f"{found['entries']} entries, {found['bytes']} bytes of replies in a file of {found['file_bytes']}, {found['hits']} hits, {found['waiting']} waiting for a batch")
    for row in found["models"]:
        ages = f"{row['oldest_s'] / _DAY_S:.1f} to {row['newest_s'] / _DAY_S:.1f} days old"
        click.echo(f"  {row['model']}: {row['entries']} entries, {row['bytes']} bytes, {row['hits']} hits, {ages}")
    return errors.EXIT_DONE


@cli.command()
@run_options("synth cache gc")
@click.argument("file", metavar="FILE")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Remove entries written more than so many days ago.")
@click.option("--keep-model", multiple=True, metavar="MODEL", help="Remove the entries of all other models, named as stat does; repeatable.")
@click.option("--max-bytes", type=click.IntRange(min=0), help="Then remove the oldest entries until the replies are no more than this.")
def gc(run: Run, file: str, older_than: float | None, keep_model: tuple[str, ...], max_bytes: int | None) -> int:
    """Remove entries, and give their space back.

    \b
    Example:
      $ python -c "from lore_cli.models.replies import *; ReplyStore('/tmp/replies.sqlite').add('served:m', [('0f', Stored('text', b'grade: L4'))])"
      $ lore-synth cache gc /tmp/replies.sqlite --older-than 90 --max-bytes 1000000000
    """
    if older_than is None and not keep_model and max_bytes is None:
        raise errors.UsageError("nothing says what to remove", hint="pass --older-than, --keep-model or --max-bytes")
    store = ReplyStore(file, must_exist=True)
    before = store.stat()["entries"]
    gone = store.clear(older_than_s=None if older_than is None else older_than * _DAY_S, keep_models=keep_model, max_bytes=max_bytes)
    run.log.say(f"{gone} of {before} entries removed", removed=gone, entries=before)
    return errors.EXIT_DONE


@cli.command()
@run_options("synth cache export")
@click.argument("file", metavar="FILE")
@output_options
def export(run: Run, file: str, output: Output) -> int:
    """Every entry as a row: key, model, kind (text, cut, row), text or probabilities, written (seconds since 1970), hits.

    \b
    Example:
      $ python -c "from lore_cli.models.replies import *; ReplyStore('/tmp/replies.sqlite').add('served:m', [('0f', Stored('text', b'grade: L4'))])"
      $ lore-synth cache export /tmp/replies.sqlite
    """
    with output.open() as writer:
        for row in ReplyStore(file, must_exist=True).entries():
            writer.write(row)
    run.log.say(f"{writer.count} entries", written=writer.count)
    return errors.EXIT_DONE
