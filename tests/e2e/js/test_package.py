"""The JavaScript client as a package: its size, its types, what `npm pack` puts in."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from gateway.version import VERSION
from tests.support.javascript import CLIENT, run_tool

FOLDER = CLIENT.parent
MOST_BYTES = 8_000
TSC = (  # which need not check what it brings along itself
    *("--noEmit", "--strict", "--skipDefaultLibCheck", "--target", "es2022", "--module", "nodenext"),
    *("--lib", "es2022,dom,dom.iterable"),
)

USAGE = """
import { Tidegate, TidegateError, type Frame, type Options } from 'tidegate'

declare module 'tidegate' {
  interface Events { 'order.shipped': { order: number } }
}

const options: Options = { getToken: async ({ refresh }) => (refresh ? 'another' : 'a token'), share: true }
const tide = new Tidegate('wss://push.example.com/ws', options)
const off: () => void = tide.on('order.shipped', (data, frame: Frame) => void (data.order + 1, frame.id))
tide.on('new_message', ({ from, content, group_id }) => console.log(from, content, group_id))
tide.on('*', (data, { type }) => console.log(type, data))
tide.on('status', ({ status }) => { if (status === 'stopped') tide.connect() })
tide.on('resync', ({ reason, addresses }) => console.log(reason, addresses.length))
tide.on('error', (error) => console.log(error.code, error.message))
tide.on('whatever a producer chose', (data) => console.log(data))
await tide.join('chat')
await tide.subscribe('orders', { filter: { status: 'open' } })
await tide.addTag('vip')
const { id, message_id } = await tide.send('chat', { any: 'thing' }, { type: 'rich' })
await tide.sendTo('7', 'hi', { messageId: crypto.randomUUID() }).catch((error: TidegateError) => error.code === 413)
tide.typing('chat')
await tide.recall('chat', message_id)
await tide.markRead('chat', message_id)
await tide.history('chat', { before: id, limit: 50 })
const unread: number | undefined = tide.notifications.unread
await tide.notifications.list({ unread_only: true })
await tide.notifications.markRead('all')
await tide.notifications.markRead([id])
await tide.presence('chat')
await tide.online(['7'])
await tide.command('my_own', { x: unread })
off()
tide.close()
"""

MISUSE = [
    "new Tidegate('wss://x')",
    "new Tidegate('wss://x', {})",
    "new Tidegate('wss://x', { getToken: () => 42 })",
    "tide.on('status', ({ colour }) => colour)",
    "tide.on('new_message', ({ colour }) => colour)",
    "tide.status === 'asleep'",
    "tide.send('chat')",
    "tide.typing('chat').then()",
    "tide.online('7')",
]


@pytest.fixture
def project(packages: Path, tmp_path: Path) -> Path:
    """A TypeScript project that has the package."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "tidegate").symlink_to(FOLDER)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


def test_minified_and_compressed_it_is_small(packages):
    minified = run_tool(packages, "esbuild", "--minify", "--format=esm", str(CLIENT))
    assert len(gzip.compress(minified.encode())) < MOST_BYTES


def test_its_own_types_hold(packages):
    assert run_tool(packages, "tsc", *TSC, "--allowJs", "--checkJs", str(CLIENT)) == ""


def test_an_application_in_typescript_compiles(packages, project):
    (project / "usage.ts").write_text(USAGE)
    run_tool(packages, "tsc", *TSC, "usage.ts", cwd=project)


def test_a_misuse_does_not_compile(packages, project):
    begin = "import { Tidegate } from 'tidegate'\nconst tide = new Tidegate('wss://x', { getToken: () => 't' })\n"
    for number, line in enumerate(MISUSE):
        (project / f"misuse{number}.ts").write_text(begin + line)
    with pytest.raises(AssertionError) as refused:  # all in one run: the compiler takes seconds to start
        run_tool(packages, "tsc", *TSC, *(f"misuse{number}.ts" for number in range(len(MISUSE))), cwd=project)
    assert [line for number, line in enumerate(MISUSE) if f"misuse{number}.ts(3," not in str(refused.value)] == []


def test_the_types_name_what_the_module_has(packages, project):
    # Types made from the JavaScript itself have to fit those that are written by hand, member by member.
    made = ("--declaration", "--emitDeclarationOnly", "--allowJs", "--outDir", str(project / "made"))
    run_tool(packages, "tsc", *[option for option in TSC if option != "--noEmit"], *made, str(CLIENT))
    declared = (project / "made" / "tidegate.d.ts").read_text().replace("./tidegate.js", "tidegate")
    (project / "made" / "tidegate.d.ts").write_text(declared)
    (project / "compare.ts").write_text(
        "import type { Tidegate as Written, TidegateError as WrittenError } from 'tidegate'\n"
        "import type { Tidegate as Made, TidegateError as MadeError } from './made/tidegate.js'\n"
        "type Missing = Exclude<keyof Written, keyof Made> | Exclude<keyof Made, keyof Written>\n"
        "type MissingOfError = Exclude<keyof WrittenError, keyof MadeError>\n"
        "const none: [Missing, MissingOfError] extends [never, never] ? true : [Missing, MissingOfError] = true\n"
        "declare const written: { [K in Exclude<keyof Written, 'on' | 'notifications'>]: Written[K] }\n"
        "declare const made: Made\n"
        "const same: typeof written = made\n"
    )
    run_tool(packages, "tsc", *TSC, "compare.ts", cwd=project)


def test_the_package_contains_what_it_needs_and_nothing_else(packages, tmp_path):
    command = ["npm", "pack", "--offline", "--json", "--pack-destination", str(tmp_path)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as tar:
        assert set(tar.getnames()) == {f"package/{name}" for name in ("package.json", "tidegate.js", "tidegate.d.ts")}


def test_the_package_is_imported_by_its_name(packages, tmp_path):
    pack = ["npm", "pack", "--offline", "--pack-destination", str(tmp_path)]
    subprocess.run(pack, cwd=FOLDER, capture_output=True, timeout=120, check=True)
    (archive,) = tmp_path.glob("*.tgz")
    (tmp_path / "package.json").write_text("{}")
    install = ["npm", "install", "--offline", "--no-audit", "--no-fund", "--silent", str(archive)]
    subprocess.run(install, cwd=tmp_path, capture_output=True, timeout=120, check=True)
    script = "import('tidegate').then((m) => console.log(Object.keys(m).sort().join()))"
    done = subprocess.run(["node", "-e", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Tidegate,TidegateError" in done.stdout


def test_its_version_is_the_gateways():
    package = json.loads((FOLDER / "package.json").read_text())
    assert package["version"] == VERSION


def test_it_stands_alone():
    assert re.findall(r"^\s*import .*|^export .* from .*", CLIENT.read_text(), re.MULTILINE) == []
