"""What the reading aids look for in a page and what they write on it: one table per language.

The first half holds patterns by which a chapter's parts are known: headings, labels, the line of
times. The second half holds the words that the site adds.
"""

import re
from dataclasses import dataclass
from re import Pattern

from teaching import TIMES


@dataclass(frozen=True)
class Phrases:
    """One language's patterns and words; `{…}` stands for what is filled in."""

    # known by
    predict: Pattern[str]  # the bold label of a blockquote
    trap: Pattern[str]
    limits: Pattern[str]  # headings
    check: Pattern[str]
    summary: Pattern[str]
    apart: Pattern[str]  # sections without prose of their own
    times: Pattern[str]  # the line of reading and running time
    sentence: Pattern[str]  # where one ends and the next begins
    endings: str  # of a term in running text, as a regular expression
    # written
    guess: str
    reading: str
    running: str
    costs: str
    memory: str
    exercise: tuple[str, str]  # one, several
    question: tuple[str, str]
    slides: str
    needs: str
    comma: str
    mark: str
    progress: str
    start: str
    forget: str
    edit: str
    report: str
    issue: str
    issue_body: str


ENGLISH = Phrases(
    predict=re.compile(r"Predict\."),
    trap=re.compile(r"Trap\."),
    limits=re.compile(r"What this does not show"),
    check=re.compile(r"Check yourself"),
    summary=re.compile(r"What you can do now"),
    apart=re.compile(r"Exercises|Check yourself|Sources|Solutions"),
    times=TIMES,
    sentence=re.compile(r"[.?!](?:[”’)])*\s+(?=[“(]?[A-Z])"),
    endings="(?:s|es)?",
    guess="Your guess",
    reading="{} minutes to read",
    running="{} s to run on two cores",
    costs="free on Colab’s CPU: {}",
    memory="{} GB of memory",
    exercise=("{} exercise", "{} exercises"),
    question=("{} question", "{} questions"),
    slides="slides",
    needs="needs ",
    comma=", ",
    mark="Mark as read",
    progress="Your progress",
    start="Start with",
    forget="Forget my progress",
    edit="Edit this page",
    report="Report an error",
    issue="Error on the page “{}”",
    issue_body="Page: {}\nAddress: {}\n\nWhat is wrong, and what should stand there instead?\n",
)

CHINESE = Phrases(
    predict=re.compile(r"预测。"),
    trap=re.compile(r"陷阱。"),
    limits=re.compile(r"这没有说明什么"),
    check=re.compile(r"自测"),
    summary=re.compile(r"你现在能做什么"),
    apart=re.compile(r"练习|自测|来源|解答"),
    times=re.compile(r"阅读时间 \d+ 分钟"),
    sentence=re.compile(r"[。？！：]"),
    endings="",
    guess="你的猜测",
    reading="阅读约 {} 分钟",
    running="双核运行约 {} 秒",
    costs="Colab 免费 CPU：{}",
    memory="内存 {} GB",
    exercise=("{} 道练习", "{} 道练习"),
    question=("{} 道自测题", "{} 道自测题"),
    slides="幻灯片",
    needs="先读：",
    comma="、",
    mark="标为已读",
    progress="学习进度",
    start="从这里开始：",
    forget="清除学习进度",
    edit="编辑本页",
    report="报告错误",
    issue="页面“{}”有误",
    issue_body="页面：{}\n地址：{}\n\n哪里有误？应当怎样写？\n",
)


def phrases(language: str | None) -> Phrases:
    """Return the table for Sphinx's `language`."""
    return CHINESE if (language or "").startswith("zh") else ENGLISH
