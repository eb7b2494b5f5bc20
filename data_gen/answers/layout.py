"""An answer without LaTeX layout, Unicode mathematics and wrappers: `plain`."""

import re
import unicodedata
from collections.abc import Callable

TEXT = r"\\(?:text|mathrm|mbox|textbf|textrm|mathbf|textit|mathit|mathsf|mathcal|textsf|textnormal|operatorname|emph)\s*\{([^{}]*)\}"  # noqa: E501
# {x | x > 3}
_SET_OF = (
    r"\\\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid|\||:)\s*(.*[<>=].*|.*\\(?:[lg]eq?|ne).*)\\\}$"
)
_LETTER = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])")
_Replacement = str | Callable[[re.Match[str]], str]
_WRITTEN: tuple[tuple[str, _Replacement], ...] = (
    (r"^\s*\\(?:boxed|fbox)\s*\{(.*)\}\s*$", r"\1"),
    (r"</?(?:b|i|u|em|strong|span|p|br)(?: [^<>]*)?/?>", ""),
    (r"^\s*(?:=>|⇒|→|\\(?:Rightarrow|implies|to|therefore)(?![a-z])|=(?![=>]))\s*", ""),
    (r",\s*\\!\s*", ","),  # 111, \! 111
    (
        r"\\(?:left|right|[bB]ig+[lrm]?|displaystyle|boxed|limits|[lL]arge|LARGE|huge|bf|rm|[hv]space\s*\{[^{}]*\}|[hv]?phantom\s*(?:\{[^{}]*\}|\S))(?![a-z])",
        "",
    ),
    (r"(?<!\\)\\[!,;:]", ""),
    (r"(?<!\\)\\ |~|\\q?quad(?![a-z])", " "),
    (r"(?<=[\w)])\*\*(?=[\d(])", "^"),
    (r"\*\*|(?<!\\)\\[()\[\]]", ""),
    (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degrees?(?![a-z])|\b[dD]egrees?\b", r" ^\\circ "),
    (r"\{,\}", ","),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\\frac\s*(\\[a-zA-Z]+|\w)", r"\\frac{\1}"),
    (r"(\\frac\{[^{}]*\})\s*(\\[a-zA-Z]+|\w)", r"\1{\2}"),
    (r"\\?sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"(?:\\|(?<![a-zA-Z]))sqrt\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
    (r"(\\sqrt\[\d+\])\s*(\w)", r"\1{\2}"),
    (r"\\(?:begin|end)\s*\{(?:aligned|align\*?|gathered|equation\*?)\}", ""),
    (r"\\lg(?![a-z])", r"\\log_{10}"),
    (r"\\surd(?![a-z])", r"\\sqrt"),
    (r"(?<![a-zA-Z\\])exp\s*\(([^()]*)\)", r"e^{\1}"),
    (r"(?<![a-zA-Z\\])frac\{", r"\\frac{"),
    (r"\\var(phi|epsilon|theta)(?![a-z])", r"\\\1"),
    (r"\\not\s*=", r"\\neq "),
    (r"\\Omega\s*$", " ohm"),
    (r"(?<![a-zA-Z\\])(pi|sin|cos|tan|log|ln)(?![a-zA-Z])", r"\\\1"),
    (r"(?<=\d) x (?=\d)", r" \\times "),
    # no list: 1,000\sqrt3
    (
        r"(?<![\w,.])\d{1,3}(?:,\d{3})+(?=\s*(?:\\(?:sqrt|pi|frac|cdot|times)|[a-zA-Z(^!+*/]))",
        lambda match: match[0].replace(",", ""),
    ),
    (
        r"\\(?:overline|overrightarrow)\s*\{\s*([A-Z]{2,})\s*\}|\\(?:vec|bm|boldsymbol)\s*\{\s*(\w+)\s*\}",
        r"\1\2",
    ),  # a segment by its ends
    (r"\\(?:bar|dot|overline)\s*\{?\s*(\d+)\s*\}?", r"\\overline{\1}"),
    *[(TEXT, r" \1 ")] * 2,
    (r"\\([%$#&])", r"\1"),
    (r"\(\s*([a-zA-Z])\s*\)", r"(\1)"),
    (
        r"\\(?:varnothing|emptyset)|^\s*(?i:no (?:real )?solutions?(?: "
        r"exists?)?)\s*\.?$|^\s*\\?\{\s*\\?\}\s*$|∅",
        "emptyset",
    ),
    (_SET_OF, lambda match: match[2] if set(_LETTER.findall(match[2])) <= {match[1]} else match[0]),
    (r"^\s*(?i:dne)\s*$", "does not exist"),
    (r"^\s*(?:\\(?:approx|simeq|sim)(?![a-z])|≈)\s*(?=[-\d.$\\])", ""),
    (r"(?<=\d)\s*(?:\.{3,}|\\[lc]?dots)", "…"),
    (r"\\[lc]dots(?![a-z])", r"\\dots"),
    (r"^\]([^\[\]]*)[;,]([^\[\]]*)\[$", r"(\1,\2)"),  # ]1;5[
    (r"(?<!\\)\\(?=\d)|\\+$", ""),
)
_REWRITES = [(re.compile(pattern), replacement) for pattern, replacement in _WRITTEN]
# no rewrite changes a text of these alone
_UNTOUCHED = re.compile(r"[\d\s,/%+()\[\]:^A-Z-]*(?:\.[\d\s,/%+()\[\]:^A-Z-]+)*\.?")
_SYMBOLS = {
    "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "/", "π": "\\pi ", "∞": "\\infty ", "≤": "\\leq ", "≥": "\\geq ", "≠": "\\neq ",  # noqa: E501
    "±": "\\pm ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "≈": "\\approx ", "°": "^\\circ ", "−": "-", "…": "...", "√": "\\sqrt ",  # noqa: E501
    "∛": "\\sqrt[3]", "∠": "\\angle ", "△": "\\triangle ", "、": ",", "。": "", "θ": "\\theta ", "∅": "\\emptyset ", "⁄": "/",  # noqa: E501
    "ℝ": "\\mathbb{R}", "或": " or ", "和": " and ", "Δ": "\\Delta ", "Ω": "\\Omega ",
}  # fmt: skip
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "₀₁₂₃₄₅₆₇₈₉"
_PLAIN_DIGITS = str.maketrans(_RAISED + _LOWERED, "0123456789-+n0123456789")
_DASH = re.compile(r"(?<!\d)–|–(?!\d)")
_UNICODE_ROOT = re.compile(r"([³⁴])?√\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[a-zA-Z]))")
_UNICODE_SCRIPT = re.compile(rf"([{_RAISED}]+)|([{_LOWERED}]+)")


def plain(answer: str) -> str:
    """`answer` without LaTeX layout and wrappers, Unicode mathematics as LaTeX, one blank between words."""
    if not _UNTOUCHED.fullmatch(answer):
        answer = without_delimiters(answer if answer.isascii() else _from_unicode(answer))
        for pattern, replacement in _REWRITES:
            answer = pattern.sub(replacement, answer)
    return " ".join(answer.split()).rstrip(".,; ")


def without_delimiters(answer: str) -> str:
    """Without the dollars around mathematics; a single one before an amount is money and stays, unless it is
    no amount.
    """
    answer = answer.strip()
    n_dollars = len(re.findall(r"(?<!\\)\$", answer))
    if n_dollars and n_dollars % 2 == 0:
        return re.sub(r"(?<!\\)\$", "", answer)
    if n_dollars == 1 and not re.match(r"(?:-\s*)?(?:US)?\$\s*-?[\d.\\]", answer):
        return re.sub(r"(?<!\\)\$", "", answer)
    return answer


def _from_unicode(answer: str) -> str:
    answer = _DASH.sub("-", answer)  # between two numbers it is a range
    answer = _UNICODE_ROOT.sub(
        lambda match: (
            "\\sqrt"
            + ("[" + unicodedata.normalize("NFKC", match[1]) + "]" if match[1] else "")
            + "{"
            + (match[2] or match[3])
            + "}"
        ),
        answer,
    )
    answer = _UNICODE_SCRIPT.sub(
        lambda match: ("^{" if match[1] else "_{") + match[0].translate(_PLAIN_DIGITS) + "}", answer
    )
    return "".join(_SYMBOLS.get(character) or _ascii(character) for character in answer)


def _ascii(character: str) -> str:
    """Full-width forms as their plain ones, ½ as a fraction; what has no plain form stays."""
    if character.isascii() or unicodedata.category(character) == "Cf":  # a zero-width space is nothing
        return character if character.isascii() else ""
    if unicodedata.decomposition(character).startswith("<circle>"):
        return character  # ① numbers a statement
    simple = unicodedata.normalize("NFKC", character)
    top, slash, bottom = simple.partition("⁄")
    return f"\\frac{{{top}}}{{{bottom}}}" if slash else simple
