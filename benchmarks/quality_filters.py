#!/usr/bin/env python3
"""What do the quality rules refuse? Good texts in hundreds of languages (few should go), and bad ones (most should).

    python benchmarks/quality_filters.py [--json FILE]

Good: UDHR, SIB-200, NTREX-128, UN speeches, banking77 and user feedback, after repair. Bad: 13 kinds in 6 languages,
made here. Prints shares refused, the languages of 100 texts or more with the most refused, and MB/s of processor time.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from gb_ray.corpus.clean.quality import problem
from gb_ray.corpus.clean.unicode import repair
from gb_ray.corpus.section import Quality

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
Texts = list[tuple[str, str]]
"""(language, text)."""

CLEAN = {
    "en": "The council opened the new pumping station on Monday after two years of work.",
    "es": "El ayuntamiento abrió el lunes la nueva estación de bombeo tras dos años de obras.",
    "ru": "В понедельник совет открыл новую насосную станцию после двух лет работы.",
    "ar": "افتتح المجلس محطة الضخ الجديدة يوم الاثنين بعد عامين من العمل.",
    "zh": "经过两年的施工，市议会于星期一启用了新的抽水站。",
    "hi": "परिषद ने दो साल के काम के बाद सोमवार को नया पंपिंग स्टेशन खोला।",
}
KEYWORDS = {
    "en": "cheap flights",
    "es": "vuelos baratos",
    "ru": "дешёвые авиабилеты",
    "ar": "رحلات رخيصة",
    "zh": "特价机票",
    "hi": "सस्ती उड़ानें",
}
MENU = {
    "en": "Home,About us,Products,Services,Contact,Log in,Register,Basket,Help,Site map",
    "es": "Inicio,Quiénes somos,Productos,Servicios,Contacto,Entrar,Registro,Cesta,Ayuda,Mapa web",
    "ru": "Главная,О нас,Товары,Услуги,Контакты,Войти,Регистрация,Корзина,Помощь,Карта сайта",
    "ar": "الرئيسية,من نحن,المنتجات,الخدمات,اتصل بنا,دخول,تسجيل,السلة,مساعدة,خريطة الموقع",
    "zh": "首页,关于我们,产品,服务,联系我们,登录,注册,购物车,帮助,网站地图",
    "hi": "मुखपृष्ठ,हमारे बारे में,उत्पाद,सेवाएँ,संपर्क,लॉग इन,पंजीकरण,टोकरी,सहायता,साइट मानचित्र",
}
COOKIES = {
    "en": "We use cookies to improve our website. By browsing you accept our cookie policy.",
    "es": "Usamos cookies para mejorar su navegación. Si continúa, acepta nuestra política de cookies.",
    "ru": "Наш сайт использует файлы cookie. Продолжая, вы соглашаетесь с использованием cookie.",
    "ar": "يستخدم هذا الموقع ملفات تعريف الارتباط. بالمتابعة فإنك توافق على ملفات تعريف الارتباط في هذا الموقع.",
    "zh": "本网站使用 Cookie 改善您的体验，继续浏览即表示您同意我们使用 Cookie。",
    "hi": "यह वेबसाइट कुकी का उपयोग करती है। जारी रखने पर आप कुकी से सहमत होते हैं।",
}
JAVASCRIPT = {
    "en": "Please enable JavaScript in your browser to see this page.",
    "es": "Habilite JavaScript en su navegador para ver esta página.",
    "ru": "Включите JavaScript в браузере, чтобы увидеть эту страницу.",
    "ar": "يرجى تفعيل JavaScript في المتصفح لعرض هذه الصفحة.",
    "zh": "请在浏览器中启用 JavaScript 以查看此页面。",
    "hi": "यह पृष्ठ देखने के लिए ब्राउज़र में JavaScript सक्षम करें।",
}
LATIN = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore."


def bad_texts() -> dict[str, Texts]:
    """Kind, then its texts: one in each language."""
    made: dict[str, Texts] = defaultdict(list)
    random.seed(0)
    for lang, clean in CLEAN.items():
        keyword, entries = KEYWORDS[lang], MENU[lang].split(",")
        noise = base64.b64encode(random.randbytes(240)).decode()
        rows = [[f"{random.uniform(0, 9000):.2f}" for _ in range(6)] for _ in range(6)]
        tables = "\n".join(f"{entries[i]} " + " ".join(row) for i, row in enumerate(rows))
        code = "\n".join(f'if (x[{i}] != null && y["{entries[i]}"] >= {i}) {{ z += x[{i}] * 2; }}' for i in range(5))
        for kind, text in {
            "repeated lines": "\n".join([clean, KEYWORDS[lang], clean, clean, clean]),
            "repeated sentence": " ".join([clean] * 5),
            "keyword spam": " ".join([keyword] * 20),
            "keywords in prose": " ".join(f"{keyword} {entry}" for entry in entries * 2),
            "menu, lines": "\n".join(entries),
            "menu, bars": " | ".join(entries) + " » " + " > ".join(entries[:4]),
            "table of numbers": tables,
            "signs": f"{clean[:30]} ★★★ ►►► === ### $$$ *** ~~~ ||| ▓▓▓ ░░░ ¤¤¤ → ← ↑ ↓ ■ □ ●",
            "base64": f"{entries[0]} {noise}",
            "code": code,
            "cookies": COOKIES[lang],
            "javascript": JAVASCRIPT[lang],
            "lorem ipsum": f"{entries[1]}\n{LATIN}",
        }.items():
            made[kind].append((lang, text))
    return dict(made)


def good_texts() -> dict[str, Texts]:
    """Set, then its texts."""

    def column(path: str, text: str = "text", lang: str | None = None) -> Texts:
        table = pq.read_table(DATA / path)
        langs = table[lang].to_pylist() if lang else ["eng"] * len(table)
        return list(zip(langs, table[text].to_pylist(), strict=True))

    ntrex = pq.read_table(DATA / "ntrex128" / "ntrex128.parquet").drop_columns(["doc_id"]).to_pydict()
    return {
        "udhr": column("udhr/udhr.parquet", lang="lang"),
        "sib200": [
            one for part in ("train", "validation", "test") for one in column(f"sib200/{part}.parquet", lang="lang")
        ],
        "ntrex128": [(lang, text) for lang, texts in ntrex.items() for text in texts],
        "un speeches": column("un_general_debate/ungd_2005_2024.parquet"),
        "banking77": column("banking77/train.parquet"),
        "user feedback": column("user_feedback/pros_cons.parquet"),
    }


def refused(texts: Texts) -> tuple[Counter[str], dict[str, float], float]:
    """Reasons, the share refused in each language of 100 texts or more, and MB/s."""
    limits, reasons, by_lang = Quality(), Counter[str](), defaultdict[str, list[bool]](list)
    start = time.process_time()
    found = [problem(text, limits) for _, text in texts]
    speed = sum(len(text.encode()) for _, text in texts) / (time.process_time() - start) / 1e6
    for (lang, _), reason in zip(texts, found, strict=True):
        by_lang[lang].append(reason is not None)
        if reason:
            reasons[reason] += 1
    return reasons, {lang: sum(hits) / len(hits) for lang, hits in by_lang.items() if len(hits) >= 100}, speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    asked = parser.parse_args()
    figures: dict[str, dict[str, object]] = {}
    problem("The first call builds the table of characters.", Quality())
    for name, raw in good_texts().items():
        texts = [(lang, repair(text)) for lang, text in raw]
        reasons, shares, speed = refused(texts)
        worst = sorted(shares.items(), key=lambda one: -one[1])[:10]
        share = reasons.total() / len(texts)
        print(
            f"{name:<16}{len(texts):>8} texts {share:>7.2%} refused {speed:>6.1f} MB/s  {dict(reasons.most_common())}"
        )
        if len(shares) > 1:
            print("  worst: " + ", ".join(f"{lang} {share:.2%}" for lang, share in worst))
        figures[name] = {"texts": len(texts), "refused": share, "mb_per_s": speed, "worst": dict(worst)}
    found = total = 0
    for kind, texts in bad_texts().items():
        answers = [(lang, problem(text, Quality())) for lang, text in texts]
        hits = sum(reason is not None for _, reason in answers)
        missed = [lang for lang, reason in answers if reason is None]
        reasons = Counter(reason for _, reason in answers if reason)
        print(f"bad: {kind:<18}{hits}/{len(texts)}  {dict(reasons)}" + (f"  missed: {missed}" if missed else ""))
        found, total = found + hits, total + len(texts)
        figures[f"bad: {kind}"] = {"found": hits, "of": len(texts)}
    passed = [lang for lang, text in CLEAN.items() if problem(text, Quality()) is None]
    print(
        f"bad texts found: {found}/{total}; the clean sentences they are made of that pass: {len(passed)}/{len(CLEAN)}"
    )
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
