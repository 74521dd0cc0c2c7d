"""National numbers of persons, of some forty countries.

A number whose written form and check digits are seldom met by chance is masked wherever it is. All others, and those
without a check digit, need a word beside them that says what they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from stdnum.ar import cuit
from stdnum.at import vnr
from stdnum.au import tfn
from stdnum.be import nn
from stdnum.bg import egn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ahv
from stdnum.cl import rut
from stdnum.cn import ric
from stdnum.cz import rc
from stdnum.de import idnr as steuer_id
from stdnum.ee import ik
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.gr import amka
from stdnum.hr import oib
from stdnum.id import nik
from stdnum.ie import pps
from stdnum.il import idnr as teudat_zehut
from stdnum.in_ import aadhaar
from stdnum.is_ import kennitala
from stdnum.it import codicefiscale
from stdnum.jp import in_ as my_number
from stdnum.kr import rrn
from stdnum.lt import asmens
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.no import fodselsnummer
from stdnum.pl import pesel
from stdnum.pt import nif
from stdnum.ro import cnp
from stdnum.ru import inn
from stdnum.se import personnummer
from stdnum.si import emso
from stdnum.th import pin
from stdnum.tr import tckimlik
from stdnum.ua import rntrc
from stdnum.us import ssn
from stdnum.za import idnr as za_id

from gb_ray.corpus.clean.personal.edge import END, START, near, shorter

Check = Callable[[str], bool]


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _shape(pattern: str) -> re.Pattern[str]:
    return re.compile(f"{START}(?:{pattern}){END}", re.IGNORECASE | re.ASCII)


def _snils(number: str) -> bool:
    """Russia's pension number: weights 9 to 1, modulo 101, 100 counting as 0 (https://ru.wikipedia.org/wiki/СНИЛС)."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    total = sum(weight * digit for weight, digit in zip(range(9, 0, -1), digits, strict=False))
    return total % 101 % 100 == digits[9] * 10 + digits[10]


def _nino(number: str) -> bool:
    """Britain's has no check digit, only prefixes never given (HMRC manual NIM39110)."""
    return number[:2].upper() not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


SHAPED: list[tuple[re.Pattern[str], Check, re.Pattern[str] | None]] = [
    (_shape(r"\d{8}[ -]?[A-Z]|\d\d\.\d{3}\.\d{3}[ -]?[A-Z]"), lambda n: dni.is_valid(n.replace(".", "")), None),
    (_shape(r"[XYZ][ -]?\d{7}[ -]?[A-Z]"), nie.is_valid, None),
    (_shape(r"[A-Z]{6}[\dL-V]{2}[A-EHLMPR-T][\dL-V]{2}[A-Z][\dL-V]{3}[A-Z]"), codicefiscale.is_valid, None),
    (_shape(r"[12]( ?)\d\d\1(?:0[1-9]|1[0-2]|[2-9]\d)\1(?:\d\d|2[AB])\1\d{3}\1\d{3}\1\d\d"), nir.is_valid, None),
    (_shape(r"\d{17}[\dX]"), ric.is_valid, None),
    (_shape(r"(?:19|20)?\d{6}[-+]\d{4}"), personnummer.is_valid, None),
    (_shape(r"\d{6}[-+A-FU-Y]\d{3}[\dA-Y]"), hetu.is_valid, None),
    (_shape(r"\d{6}-[1-8]\d{6}"), rrn.is_valid, None),
    (_shape(r"\d{3}\.\d{3}\.\d{3}-\d\d"), cpf.is_valid, None),
    (_shape(r"\d\d\.\d\d\.\d\d[-.]\d{3}\.\d\d"), nn.is_valid, None),
    (_shape(r"756\.\d{4}\.\d{4}\.\d\d"), ahv.is_valid, None),
    (_shape(r"\d{1,2}\.\d{3}\.\d{3}-[\dK]"), rut.is_valid, None),
    (_shape(r"2[03-7]-\d{8}-\d"), cuit.is_valid, None),
    (_shape(r"\d{3}-\d{3}-\d{3}[ -]\d\d"), _snils, None),
    (_shape(r"\d-\d{4}-\d{5}-\d\d-\d"), pin.is_valid, None),
    (_shape(r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[\dA-Z]\d"), curp.is_valid, None),
    (_shape(r"[A-Z]{2}( ?)\d\d\1\d\d\1\d\d\1[A-D]"), _nino, _words(r"national insurance|\bnino\b|\bni (?:no|num)")),
    (_shape(r"\d{7}[A-W][ABHWTX]?"), pps.is_valid, _words(r"\bppsn?\b")),
]
"""(shape, check, words it needs beside it)"""

NAMED: dict[int, list[tuple[Check, re.Pattern[str]]]] = {
    9: [
        (lambda n: ssn.is_valid(n), _words(r"\bssn\b|social security|segur(?:o|idad) social")),
        (bsn.is_valid, _words(r"\bbsn\b|burgerservice|sofinummer")),
        (sin.is_valid, _words(r"\bsin\b|social insurance|assurance sociale|\bnas\b")),
        (teudat_zehut.is_valid, _words(r"תעודת זהות|ת\.ז|teudat zehut")),
        (nif.is_valid, _words(r"\bnif\b|contribuinte")),
        (tfn.is_valid, _words(r"\btfn\b|tax file")),
        (rc.is_valid, _words(r"rodné číslo|r\. ?č\.")),
    ],
    10: [
        (egn.is_valid, _words(r"ЕГН|\begn\b")),
        (lambda n: _date_ok(n), _words(r"\bcpr\b|personnummer")),
        (personnummer.is_valid, _words(r"personnummer|\bpnr\b")),
        (rc.is_valid, _words(r"rodné číslo|r\. ?č\.")),
        (vnr.is_valid, _words(r"sozialversicherung|svnr")),
        (kennitala.is_valid, _words(r"kennitala")),
        (rntrc.is_valid, _words(r"РНОКПП|ІПН|ИНН")),
    ],
    11: [
        (pesel.is_valid, _words(r"pesel")),
        (cpf.is_valid, _words(r"\bcpf\b")),
        (steuer_id.is_valid, _words(r"steuer-?id|idnr|\btin\b")),
        (tckimlik.is_valid, _words(r"kimlik|\bt\.?c\.? no")),
        (fodselsnummer.is_valid, _words(r"fødselsnummer|personnummer|\bfnr\b")),
        (oib.is_valid, _words(r"\boib\b")),
        (ik.is_valid, _words(r"isikukood")),
        (asmens.is_valid, _words(r"asmens kod")),
        (nn.is_valid, _words(r"registre national|rijksregister|num[ée]ro national|insz|niss")),
        (amka.is_valid, _words(r"\bamka\b|ΑΜΚΑ")),
        (_snils, _words(r"снилс|snils")),
    ],
    12: [
        (aadhaar.is_valid, _words(r"aadh?aa?r|आधार|uidai|ஆதார்|ఆధార్|আধার")),
        (my_number.is_valid, _words(r"マイナンバー|個人番号|my number")),
        (inn.is_valid, _words(r"инн|\binn\b")),
        (personnummer.is_valid, _words(r"personnummer|\bpnr\b")),
    ],
    13: [
        (za_id.is_valid, _words(r"south africa|\bid (?:no|number)|identity (?:no|number)|\bsa id")),
        (cnp.is_valid, _words(r"\bcnp\b|cod numeric")),
        (pin.is_valid, _words(r"บัตรประชาชน|thai id")),
        (emso.is_valid, _words(r"em[šs]o|jmbg|јмбг")),
        (rrn.is_valid, _words(r"주민등록")),
    ],
    16: [(nik.is_valid, _words(r"\bnik\b|\bktp\b"))],
}
"""Number of digits: (check, words it needs beside it)"""
_ANY_WORD = _words("|".join(words.pattern for rows in NAMED.values() for _, words in rows))
_RUN = re.compile(rf"{START}\d(?:[ .\-/]?\d){{8,19}}{END}")


def find(view: str) -> Iterator[tuple[int, int]]:
    """Where national numbers are; the checks are those of python-stdnum unless they say otherwise."""
    for shape, check, words in SHAPED:
        for match in shape.finditer(view):
            if check(match.group()) and (words is None or near(view, *match.span(), words)):
                yield match.span()
    if not _ANY_WORD.search(view):
        return
    for match in _RUN.finditer(view):
        if not near(view, *match.span(), _ANY_WORD):
            continue
        for end in shorter(view, match.start(), match.end()):
            if _is_named(view, match.start(), end):
                yield match.start(), end
                break


def _is_named(view: str, start: int, end: int) -> bool:
    digits = re.sub(r"\D", "", view[start:end])
    return any(check(digits) and near(view, start, end, words) for check, words in NAMED.get(len(digits), ()))


def _date_ok(number: str) -> bool:
    """Denmark gives numbers without a valid check digit since 2007 (https://cpr.dk): the date must do."""
    return 1 <= int(number[:2]) <= 31 and 1 <= int(number[2:4]) <= 12
