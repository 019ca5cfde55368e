"""Search in Chinese: words are cut by jieba for the index, and by the index for a query."""

import logging
import re
from typing import Any

import jieba
from sphinx.search.zh import SearchChinese

HAN = re.compile(r"[\u3400-\u9fff]{2,}")
SPLIT = r"""
// A run of Chinese that no word of the index holds is cut into such words, the longest first.
function splitQuery(query) {
  const { terms, titleterms } = Search._index;
  const known = (word) => Object.hasOwn(terms, word) || Object.hasOwn(titleterms, word);
  const words = [...Object.keys(terms), ...Object.keys(titleterms)];
  const held = (run) => words.some((word) => word.includes(run));
  const cut = (run) => {
    if (held(run)) return [run];
    const parts = [];
    for (let start = 0; start < run.length; ) {
      let end = run.length;
      while (end > start + 1 && !known(run.slice(start, end))) end -= 1;
      if (end > start + 1) parts.push(run.slice(start, end));
      start = end;
    }
    return parts.length ? parts : [run];
  };
  const pieces = query.match(/\p{Script=Han}+|[\p{Letter}\p{Number}_]+/gu) ?? [];
  return pieces.flatMap((piece) => (/\p{Script=Han}/u.test(piece) ? cut(piece) : [piece]));
}
"""


class ChineseSearch(SearchChinese):
    """Sphinx's search in Chinese, which knows the book's own terms."""

    js_splitter_code = SPLIT

    def init(self, options: dict[str, Any]) -> None:
        """Give jieba the terms, as the words that they are."""
        jieba.setLogLevel(logging.WARNING)
        super().init(options)
        for text in options.get("words", ()):
            for word in HAN.findall(text):
                jieba.add_word(word)
