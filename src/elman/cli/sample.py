"""``elman sample``: text from a trained model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elman.errors import MisuseError

if TYPE_CHECKING:
    import numpy as np

    from elman.generate import Sample
    from elman.runs import LoadedRun

EXAMPLE = """Examples:

elman sample runs/input --prompt "ROMEO:" --temperature 0.8 --length 500

elman sample runs/input --samples 5 --top-p 0.95 --seed 1 --json

elman sample runs/input --prompt-file start.txt --stop "THE END" --novelty

elman sample runs/input --prompt "ROMEO:" --beam 10 --length 100
"""


def register(app: typer.Typer) -> None:
    """Add ``elman sample``."""
    app.command("sample", epilog=EXAMPLE)(sample)


def sample(
    run: Annotated[Path, typer.Argument(help="The run folder.", show_default=False)],
    prompt: Annotated[str, typer.Option(help="Text to continue.", show_default=False)] = "",
    prompt_file: Annotated[
        Path | None, typer.Option(help="Read the prompt from this UTF-8 file, whole.", show_default=False)
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="Symbols to draw: characters, words, ...")] = 500,
    temperature: Annotated[float, typer.Option(help="Below 1 safer, above 1 wilder, 0 always the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest symbols.", show_default=False)] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw from the likeliest that together have probability p.", show_default=False),
    ] = None,
    min_p: Annotated[
        float | None,
        typer.Option(help="Draw from those at least p times as likely as the first.", show_default=False),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="fp32; bf16, int8: weights of half and a quarter of the size, faster, another text."),
    ] = "fp32",
    seed: Annotated[
        int | None,
        typer.Option(help="Same seed, same text. Default: a fresh one, which is printed.", show_default=False),
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may be repeated.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="Texts, with seeds seed, seed + 1, ...")] = 1,
    beam: Annotated[
        int | None,
        typer.Option(min=1, help="Search for the likeliest texts, so many at a time.", show_default=False),
    ] = None,
    normalisation: Annotated[
        float,
        typer.Option(min=0, help="Of the beam: 0 ranks by probability, towards 1 favours longer texts."),
    ] = 0.0,
    novelty: Annotated[
        bool, typer.Option("--novelty", help="Say how much of each text is copied from the training text.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    unknown: Annotated[
        str | None,
        typer.Option(help="Symbols of the prompt never seen: skip, unk, error, replace:C.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)] = None,
    backend: Annotated[str, typer.Option(help="auto, reference, torch, cpu or gpu.")] = "auto",
) -> None:
    """Write text with a trained model; on a terminal a single text appears while it is drawn."""
    from elman.generate import beam_search, generate
    from elman.runs import load
    from elman.training import machine

    if prompt and prompt_file is not None:
        raise MisuseError("--prompt and --prompt-file both name a prompt; give one of them.")
    if beam is not None and (temperature, top_k, top_p, min_p, seed, precision) != (1.0, *[None] * 4, "fp32"):
        raise MisuseError(
            "--beam searches and draws nothing; leave out --temperature, --top-k, --top-p, --min-p, --seed, "
            "--precision."
        )
    device, _ = machine.prepare(device, threads)
    loaded = load(run, device=device, backend=backend, unknown=unknown)
    vocabulary = loaded.vocabulary
    if prompt_file is not None:
        prompt = _read_prompt(prompt_file, "surrogateescape" if vocabulary.kind == "bytes" else "strict")
    training = _training_ids(loaded, run) if novelty else None
    # the space between prompt and text is the text's where symbols are words
    lead = prompt.rstrip(" ") if vocabulary.kind == "words" else prompt
    streaming = beam is None and samples == 1 and output is None and not as_json and sys.stdout.isatty()
    if streaming:
        _write(lead)
    asked: dict[str, Any] = {"prompt": prompt, "length": length, "stop": stop or []}
    if beam is not None:
        texts = beam_search(loaded.model, vocabulary, width=beam, best=samples, normalisation=normalisation, **asked)
    else:
        texts = generate(
            loaded.model,
            vocabulary,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            samples=samples,
            seed=seed,
            precision=precision,
            on_token=(lambda _row, _token, text: _write(text)) if streaming else None,
            **asked,
        )
    copied = [None if training is None else _copied(text, training, vocabulary) for text in texts]
    if streaming:
        _write("\n")
    elif as_json:
        records = [_record(text, prompt, part) for text, part in zip(texts, copied, strict=True)]
        _deliver("\n".join(json.dumps(record, ensure_ascii=False) for record in records), output)
    elif samples == 1:
        _deliver("".join(lead + text.text for text in texts), output)
    else:
        _deliver("\n\n".join(f"{_title(at, text)}\n{lead}{text.text}" for at, text in enumerate(texts, 1)), output)
    if not as_json:
        _remark(texts, copied, seed is None and beam is None, vocabulary.unknown)


def _read_prompt(path: Path, errors: str) -> str:
    try:
        return path.read_bytes().decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise MisuseError(
            f"{path} is not UTF-8: the byte at position {error.start} (value "
            f"0x{error.object[error.start]:02x}) cannot be decoded. Convert it to UTF-8."
        ) from error
    except OSError as error:
        raise MisuseError(f"The prompt {path} cannot be read: {error.strerror or error}.") from error


def _training_ids(loaded: LoadedRun, run: Path) -> np.ndarray:
    """The ids that the model was trained on, without those that are never drawn."""
    import numpy as np

    from elman.training.compare import part_of_run

    _, ids = part_of_run(loaded, run, "train")
    if loaded.vocabulary.unpredicted:
        ids = ids[~np.isin(ids, sorted(loaded.vocabulary.unpredicted))]
    return ids


def _copied(text: Sample, training: np.ndarray, vocabulary: Any) -> dict[str, Any]:
    import numpy as np

    from elman.generate.novelty import novelty

    found = novelty(np.array(text.ids, dtype=np.int64), training)
    passage = vocabulary.decode(text.ids[found.start : found.start + found.longest])
    return {"longest": found.longest, "passage": passage, "share": found.share, "n": found.n}


def _record(text: Sample, prompt: str, copied: Mapping[str, Any] | None) -> dict[str, Any]:
    record = {
        "text": text.text,
        "logprob": text.logprob,
        "seed": text.seed,
        "prompt": prompt,
        "tokens": len(text.ids),
        "stopped": text.stopped,
        "unknown": dict(text.unknown),
    }
    return record if copied is None else record | {"novelty": copied}


def _title(number: int, text: Sample) -> str:
    seed = "" if text.seed is None else f", seed {text.seed}"
    return f"--- {number}{seed}, {text.logprob:.2f} nats"


def _remark(texts: list[Sample], copied: list[dict[str, Any] | None], fresh_seed: bool, policy: str) -> None:
    """What is not the text itself goes to standard error, so that the text can be redirected alone."""
    from elman.generate import visible

    def say(line: str) -> None:
        print(visible(line), file=sys.stderr)

    if texts and texts[0].unknown:
        some = ", ".join(f"{name!r} x {count}" for name, count in texts[0].unknown.most_common(8))
        say(f"The prompt has symbols that the vocabulary lacks: {some}; policy: {policy}.")
    for number, part in enumerate(copied, start=1):
        if part is not None:
            share = "too short for" if part["share"] is None else f"{100 * part['share']:.1f} % of"
            which = f" {number}" if len(texts) > 1 else ""
            say(
                f"novelty{which}: the longest copied passage has {part['longest']} symbols "
                f"({_shortened(part['passage'])!r}); {share} its {part['n']}-grams occur in the training text"
            )
    if fresh_seed and texts:
        say(f"seed {texts[0].seed}")


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]} ... {text[-15:]}"


def _deliver(text: str, output: Path | None) -> None:
    if output is None:
        _write(text + "\n")
    else:
        from elman.files import write_whole

        write_whole(output, (text + "\n").encode("utf-8", "replace"))


def _write(text: str) -> None:
    from elman.generate import visible

    stream = sys.stdout
    if stream.isatty():
        text = visible(text)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()
