"""What a piece of text looks like: its words as stems, the shapes of codes, money and addresses.

The router compares these between a sentence and the manifests; the offline planner reads values
out of them. Nothing here knows a connector.
"""

from __future__ import annotations

import re
from functools import lru_cache


def vocabulary(text: str) -> list[str]:
    """Return the words of a table written as one string, which reads better than a list."""
    return text.split()


WORD = re.compile(r"[^\W_]+(?:['’][a-z]+)?", re.UNICODE)

STOP = frozenset(
    vocabulary(
        "a an and any are as at be been but by can could did do does for from had has have hello "
        "her hey hi his i if in into is it its let me my need of on or our please shall she "
        "should so some such tell than thanks that the their them then there these they this "
        "those to us want was we were what which whom will with would you your "
        "give show like about am just got get i'm i'd i'll what's it's that's there's let's who's "
        "where's how's up out one also really very use when how much many why now tell "
        "today tonight tomorrow yesterday day going doing"
    )
)

# ISO 4217 codes in circulation, with the main English names and signs people use for them.
CURRENCY_CODES = frozenset(
    vocabulary(
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN "
        "BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD "
        "FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY "
        "KES KGS KHR KMF KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU "
        "MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON "
        "RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND "
        "TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW"
    )
)
CURRENCY_NAMES = {
    "dollar": "USD",
    "us dollar": "USD",
    "american dollar": "USD",
    "buck": "USD",
    "euro": "EUR",
    "pound": "GBP",
    "british pound": "GBP",
    "pound sterling": "GBP",
    "sterling": "GBP",
    "quid": "GBP",
    "yen": "JPY",
    "japanese yen": "JPY",
    "yuan": "CNY",
    "chinese yuan": "CNY",
    "renminbi": "CNY",
    "rupee": "INR",
    "indian rupee": "INR",
    "swiss franc": "CHF",
    "franc": "CHF",
    "canadian dollar": "CAD",
    "australian dollar": "AUD",
    "new zealand dollar": "NZD",
    "hong kong dollar": "HKD",
    "singapore dollar": "SGD",
    "mexican peso": "MXN",
    "peso": "MXN",
    "real": "BRL",
    "reais": "BRL",
    "brazilian real": "BRL",
    "won": "KRW",
    "korean won": "KRW",
    "ruble": "RUB",
    "rouble": "RUB",
    "lira": "TRY",
    "turkish lira": "TRY",
    "rand": "ZAR",
    "south african rand": "ZAR",
    "zloty": "PLN",
    "polish zloty": "PLN",
    "forint": "HUF",
    "krona": "SEK",
    "kronor": "SEK",
    "swedish krona": "SEK",
    "norwegian krone": "NOK",
    "danish krone": "DKK",
    "krone": "DKK",
    "kroner": "DKK",
    "koruna": "CZK",
    "baht": "THB",
    "thai baht": "THB",
    "ringgit": "MYR",
    "rupiah": "IDR",
    "shekel": "ILS",
    "dirham": "AED",
    "riyal": "SAR",
    "dinar": "KWD",
    "hryvnia": "UAH",
    "dong": "VND",
    "naira": "NGN",
    "egyptian pound": "EGP",
    "philippine peso": "PHP",
    "argentine peso": "ARS",
}
CURRENCY_SIGNS = {
    "US$": "USD",
    "CA$": "CAD",
    "C$": "CAD",
    "A$": "AUD",
    "NZ$": "NZD",
    "HK$": "HKD",
    "S$": "SGD",
    "R$": "BRL",
    "$": "USD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
    "₹": "INR",
    "₩": "KRW",
    "₺": "TRY",
    "₽": "RUB",
    "₪": "ILS",
    "฿": "THB",
}
# Codes that are English words are currencies only when written in capitals.
_ALSO_WORDS = frozenset(vocabulary("all bam cop cup gel lak mad mop pen php ron sos top try"))
_names = "|".join(
    re.escape(name) + ("s?" if name[-1] not in "n" else "")
    for name in sorted(CURRENCY_NAMES, key=len, reverse=True)
)
_codes = "|".join(sorted(CURRENCY_CODES))
_low = "|".join(sorted(code.lower() for code in CURRENCY_CODES if code.lower() not in _ALSO_WORDS))
CURRENCY = re.compile(
    rf"\b(?:(?i:(?P<name>{_names}))|(?P<code>{_codes}|{_low}))\b"
    rf"|(?P<sign>{'|'.join(map(re.escape, CURRENCY_SIGNS))})(?=\s?\d)"
)

# Coins that people call by name, with their symbols.
COINS = {
    "bitcoin": "BTC",
    "ethereum": "ETH",
    "ether": "ETH",
    "solana": "SOL",
    "dogecoin": "DOGE",
    "cardano": "ADA",
    "litecoin": "LTC",
    "ripple": "XRP",
    "polkadot": "DOT",
    "tether": "USDT",
    "shiba inu": "SHIB",
    "avalanche": "AVAX",
    "monero": "XMR",
}
COIN = re.compile(rf"\b({'|'.join(COINS)})s?\b|\b(btc|eth|xrp|doge|bnb)\b", re.IGNORECASE)

URL = re.compile(
    r"\bhttps?://[^\s<>\"']+[^\s<>\"'.,;:!?)]"
    r"|\b(?:www\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|io|dev|gov|edu|co\.uk|de|fr|app)"
    r"\b(?:/[^\s<>\"']*[^\s<>\"'.,;:!?)])?",
    re.IGNORECASE,
)
EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
PHONE = re.compile(r"(?<!\w)\+?\d(?:[ .()-]{0,2}\d){8,13}(?!\w)")
COORDINATES = re.compile(r"(-?\d{1,2}\.\d+)\s*[,;/ ]\s*(-?\d{1,3}\.\d+)")
FLIGHT = re.compile(r"\b([A-Z][A-Z0-9]|[0-9][A-Z]|[A-Z]{3}) ?(\d{1,4})\b")
TRACKING = re.compile(
    r"\b(?=[A-Z0-9]*\d)(?:1Z[A-Z0-9]{16}|[A-Z]{2}\d{9}[A-Z]{2}|\d{12,22}|"
    r"EZ\d{8,10}|[A-Z]{2,4}\d{8,20})\b"
)
ZIP = re.compile(r"\b\d{5}(?:-\d{4})?\b")
CASHTAG = re.compile(r"(?<!\w)\$[A-Za-z]{1,5}\b")
ASIN = re.compile(r"\bB0[A-Z0-9]{8}\b")
CAPITALS = re.compile(r"(?<![\w$])\$?[A-Z]{1,5}(?:\.[A-Z])?\b")
ACRONYMS = frozenset(
    vocabulary(
        "A I AM PM OK US USA UK EU UN NYC LA DC SF TV PDF URL API AI ID FAQ ASAP CEO CFO CTO DIY "
        "II III IV VI VII VIII IX XI "
        "DVD EST PST CST MST GMT UTC ETA ETF FYI HR IP IPO IT PR Q RSVP SMS SUV VIP ZIP GPS"
    )
)
_CLOCK = re.compile(
    r"\b\d{1,2}(?::\d\d|\s?[ap]\.?m|\s?o['’]clock)\b|\b(?:noon|midnight|half past)\b",
    re.IGNORECASE,
)
_BUDGET = re.compile(
    r"\b(?:under|below|less than|up to|at most|max(?:imum)?|over|above|more than|cheaper than|"
    r"within|between)\s+(?:[$€£¥]\s?\d|\d[\d.,]*\s?(?:dollars?|bucks|euros?|pounds?|quid|usd|eur|gbp)\b)",
    re.IGNORECASE,
)
_DAY = re.compile(
    r"\b(?:today|tonight|tomorrow|yesterday|weekend|week|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?|\d{4}-\d\d-\d\d|\d{1,2}(?:st|nd|rd|th))\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"\W*(?:who|what|when|where|why|how|which|tell me about|explain|define)\b", re.IGNORECASE
)
_ROUTE = re.compile(r"\bfrom [A-Z][a-z]+[\w .'’-]{0,24} to [A-Z][a-z]")
_CHANNEL = re.compile(r"(?<![\w#/])#[A-Za-z][\w-]+")
_PLACE = re.compile(r"\b(?:in|near|around|from|to|at|for) [A-Z][a-z]")


def currency_of(match: re.Match[str]) -> str:
    """Return the ISO code a match of `CURRENCY` names."""
    if match["sign"]:
        return CURRENCY_SIGNS[match["sign"]]
    if match["code"]:
        return match["code"].upper()
    name = match["name"].lower()
    return CURRENCY_NAMES.get(name) or CURRENCY_NAMES[name.rstrip("s")]


def features(text: str) -> list[str]:
    """Return the shapes found in `text`, each once, as words beginning with '#'."""
    currencies = [currency_of(match) for match in CURRENCY.finditer(text)]
    caps = [c for c in CAPITALS.findall(text) if c not in ACRONYMS and c not in CURRENCY_CODES]
    shouting = text.isupper() and " " in text
    url = URL.search(EMAIL.sub(" ", text))
    budget = bool(_BUDGET.search(text))
    seen = {
        # "under 40 dollars" bounds a price and converts nothing.
        "#currency": bool(currencies) and not (budget and len(currencies) < 2),
        "#budget": budget,
        "#pair": len(currencies) > 1,
        "#url": bool(url),
        "#email": bool(EMAIL.search(text)),
        "#phone": bool(PHONE.search(text)) and not TRACKING.search(text),
        "#coordinates": bool(COORDINATES.search(text)),
        "#flight": bool(FLIGHT.search(CURRENCY.sub(" ", text))),
        "#tracking": bool(TRACKING.search(text)),
        "#zip": bool(ZIP.search(text)),
        "#ticker": bool(caps) and not shouting,
        "#cashtag": bool(CASHTAG.search(text)),
        "#asin": bool(ASIN.search(text)),
        "#airport": any(len(c) == 3 and c.isalpha() for c in caps) and not shouting,
        "#time": bool(_CLOCK.search(text)),
        "#date": bool(_DAY.search(text)),
        "#place": bool(_PLACE.search(text)),
        "#route": bool(_ROUTE.search(text)),
        "#channel": bool(_CHANNEL.search(text)),
        "#question": bool(_QUESTION.match(text)),
    }
    return [name for name, found in seen.items() if found]


# Forms that no ending tells, with the word they are of.
_FORMS = {
    form: word
    for word, forms in (
        line.split("=")
        for line in vocabulary(
            "buy=bought sell=sold pay=paid spend=spent send=sent write=wrote,written say=said "
            "fly=flew,flown hear=heard find=found make=made tell=told eat=ate,eaten "
            "drive=drove,driven take=took,taken see=saw,seen go=went,gone get=gotten "
            "ring=rang,rung sing=sang,sung speak=spoke,spoken win=won lose=lost meet=met "
            "leave=left build=built read=reads hold=held keep=kept forget=forgot,forgotten "
            "rise=rose,risen fall=fell,fallen grow=grew,grown draw=drew,drawn sleep=slept "
            "person=people child=kids,children man=men woman=women foot=feet tooth=teeth"
        )
    )
    for form in forms.split(",")
}


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return `word` without its commonest English endings; equal for most forms of one word."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    word = _FORMS.get(word, word)
    if len(word) < 4:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "ls":
                word = word[:-1]
            break
    # France is no franc.
    return word[:-1] if len(word) > 3 and word.endswith("e") and word[-3:] != "nce" else word


def opening(text: str) -> str:
    """Return how a sentence begins ("^who was"), which says what kind of answer it wants."""
    return "^" + " ".join(word.lower() for word in WORD.findall(text)[:2])


def stems(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, in order; digits alone carry none."""
    found = (word.lower().replace("’", "'") for word in WORD.findall(text.replace("_", " ")))
    return [stem(word) for word in found if word not in STOP and not word.isdigit()]
