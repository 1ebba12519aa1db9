// v86 in node: what comes on COM1 of a PC whose BIOS is a ROM of ours.
//
//     node v86.mjs FOLDER ROM MIB
//
// FOLDER is that of the npm package `v86`, and MIB the size of the memory.  Nothing in the guest can
// end it: whoever has started it does.

import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const STDOUT = 1;
const BYTES_PER_MIB = 1024 * 1024;

const [folder, rom, mib] = process.argv.slice(2);
const { V86 } = await import(pathToFileURL(join(folder, "build", "libv86.mjs")));
const emulator = new V86({
    wasm_path: join(folder, "build", "v86.wasm"),
    bios: { buffer: new Uint8Array(readFileSync(rom)).buffer },
    memory_size: mib * BYTES_PER_MIB,
    vga_memory_size: BYTES_PER_MIB,
    disable_speaker: true,
    autostart: true,
});
emulator.add_listener("serial0-output-byte", (byte) => writeSync(STDOUT, Uint8Array.of(byte)));
