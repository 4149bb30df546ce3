"""Write `docs/contracts/` again."""

from __future__ import annotations

from tests.support.contracts.files import FOLDER, files

for path in set(FOLDER.iterdir()) - files().keys():
    path.unlink()
for path, text in files().items():
    path.write_text(text, encoding="utf-8")
