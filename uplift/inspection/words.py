"""What column names and values usually mean: the words that a guess of roles starts from.

Words are English with the German, French and Spanish ones that campaign files often hold. A name is split into its
words (:func:`words_of`); a word that is not here says nothing.
"""

from __future__ import annotations

import re
import unicodedata

TREATMENT = {
    "treatment": 10, "treat": 9, "treated": 9, "trt": 8, "arm": 9, "assignment": 8, "assigned": 7, "variant": 8, "variante": 8,
    "group": 6, "grp": 6, "gruppe": 6, "grupo": 6, "groupe": 6, "testgroup": 8, "testgruppe": 8, "cell": 5, "bucket": 5,
    "condition": 5, "version": 4, "experiment": 5, "ab": 5, "coupon": 6, "voucher": 6, "gutschein": 6, "cupon": 6,
    "offer": 6, "promo": 5, "promotion": 5, "discount": 5, "rabatt": 5, "incentive": 5, "angebot": 5, "mailing": 4,
    "campaign": 3, "kampagne": 3, "segment": 4, "creative": 4, "message": 3, "action": 4, "test": 3, "exposed": 3, "item": 2,
}  # fmt: skip
CONTROL_WORDS = {
    "control", "ctrl", "ctl", "kontrolle", "kontrollgruppe", "controle", "none", "no", "nothing", "placebo", "holdout",
    "baseline", "untreated", "without", "kein", "keine", "keiner", "ohne", "sin", "sans", "dummy",
}  # fmt: skip
UNIT = {
    "customer": 8, "client": 8, "user": 8, "member": 7, "kunde": 8, "kunden": 8, "kundennr": 9, "household": 7, "hh": 6,
    "visitor": 7, "subscriber": 7, "account": 6, "person": 7, "patient": 7, "cliente": 8, "cust": 8, "uid": 8, "userid": 9,
    "customerid": 9, "clientid": 9, "guest": 5, "shopper": 7, "loyalty": 4, "card": 3, "device": 3, "email": 6, "mail": 2,
    "phone": 5, "msisdn": 6,
}  # fmt: skip
ID_WORDS = {"id", "ids", "nr", "no", "number", "num", "key", "uuid", "guid", "code", "hash", "nummer", "uid"}
ROW_WORDS = {"index", "row", "rownum", "unnamed", "record", "line", "zeile"}
PERSONAL = {"name", "firstname", "lastname", "surname", "email", "mail", "phone", "telefon", "address", "street", "strasse", "iban", "comment", "note", "kommentar"}  # fmt: skip
OUTCOME = {
    "click", "clicked", "clicks", "klick", "geklickt", "clic", "open", "opened", "geoffnet", "view", "viewed", "visit",
    "visited", "besuch", "impression", "seen", "shown", "convert", "converted", "conversion", "conversions", "cvr", "purchase", "purchases", "purchased",
    "buy", "bought", "kauf", "gekauft", "achat", "compra", "order", "orders", "ordered", "bestellt", "redeem", "redeemed",
    "redemption", "eingelost", "response", "respond", "responded", "subscribe", "subscribed", "churn", "churned", "retention",
    "retained", "target", "outcome", "label", "y", "success", "gave", "donated", "voted", "engaged", "signup", "install",
    "installed", "cart", "checkout", "sale", "sold", "yes", "used", "exposure", "booked", "renewed",
}  # fmt: skip
VALUE = {
    "spend", "spent", "spending", "revenue", "amount", "sales", "gmv", "value", "profit", "basket", "turnover", "umsatz",
    "betrag", "umsaetze", "ca", "montant", "importe", "ventas", "gross", "net", "total", "label", "y", "outcome", "target", "money", "paid", "margin", "earnings",
}  # fmt: skip
BEFORE = {
    "last", "prev", "previous", "prior", "past", "before", "hist", "history", "avg", "average", "mean", "lag", "pre", "old",
    "recency", "frequency", "tenure", "first", "vorher", "letzte", "letzter", "ever", "lifetime", "score", "since", "expected", "predicted", "ltm", "12m", "6m", "90d", "30d", "365d",
}  # fmt: skip
"""Words of what was known before the campaign."""
DESCRIPTIVE = {
    "age", "alter", "income", "gender", "sex", "region", "city", "state", "country", "zip", "history", "customer", "loyalty", "family", "size", "education", "blood", "price", "product", "category", "user", "affinity", "feature",
}  # fmt: skip
"""Words that turn "group", "segment" or "offer" into a feature."""
TIME = {
    "date": 5, "datum": 5, "time": 4, "timestamp": 6, "ts": 4, "sent": 7, "send": 6, "day": 3, "assigned": 7, "assignment": 7,
    "mailed": 6, "versand": 7, "gesendet": 7, "fecha": 5, "campaign": 3, "created": 2, "start": 3, "exposure": 4, "at": 2, "dt": 4,
}  # fmt: skip
TIME_BEFORE = {"birth", "birthday", "dob", "geburt", "geburtsdatum", "registration", "registered", "signup", "joined", "join", "first", "last", "since", "opened", "issue", "registrierung", "member"}  # fmt: skip
STRATA = {
    "stratum",
    "strata",
    "block",
    "blocks",
    "schicht",
    "randomization",
    "randomisation",
    "stratification",
    "position",
}
PROPENSITY = {"propensity", "pscore", "propensities"}
WEIGHT = {"sampleweight", "samplingweight", "surveyweight", "ipw", "iptw"}
BOOKKEEPING = {"split", "fold", "partition", "batch", "file", "source", "dataset"}
CODES = {"zip", "zipcode", "postal", "postcode", "postalcode", "plz", "code", "store", "shop", "branch", "region", "city", "country", "category", "type", "os", "channel", "filiale", "brand"}  # fmt: skip
TRUE_WORDS = {"yes", "y", "true", "t", "1", "ja", "j", "oui", "si", "x", "✓", "on"}
FALSE_WORDS = {"no", "n", "false", "f", "0", "nein", "non", "off"}
MISSING_WORDS = {"", "-", "--", "?", ".", "n/a", "na", "nan", "null", "none", "unknown", "missing", "#n/a", "k.a.", "nil", "\\n", "(null)", "unbekannt", "tbd"}  # fmt: skip


def plain(text: str) -> str:
    """Lower case, without accents and outer blanks.

    Examples
    --------
    >>> plain(" Geöffnet ")
    'geoffnet'
    """
    if text.isascii():
        return text.strip().lower()
    decomposed = unicodedata.normalize("NFKD", text.strip().lower())
    return "".join(mark for mark in decomposed if not unicodedata.combining(mark))


def words_of(name: str) -> list[str]:
    """Words of a column name, split at marks and where a capital follows a small letter.

    Examples
    --------
    >>> words_of("testGroup"), words_of("Umsatz (EUR)"), words_of("clicked_at")
    (['test', 'group'], ['umsatz', 'eur'], ['clicked', 'at'])
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name.strip())
    return [word for word in re.split(r"[^0-9a-z]+", plain(spaced)) if word]


def says_control(value: str) -> bool:
    """Whether an arm's name reads like the control.

    Examples
    --------
    >>> says_control("No E-Mail"), says_control("coupon_5"), says_control("holdout")
    (True, False, True)
    """
    found = words_of(value)
    return bool(set(found) & CONTROL_WORDS)
