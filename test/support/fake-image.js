import { createHash } from 'node:crypto';
/** The text that names a job in full, as easel_worker/fake_image.py defines it. */
export function canonicalText(job) {
    const negative = job.negative === null ? ['-', '-'] : [job.negative.ids.join(','), job.negative.ids_2.join(',')];
    const thousandths = Math.floor(job.guidance * 1000 + 0.5);
    return [job.prompt.ids.join(','), job.prompt.ids_2.join(','), ...negative, job.seed, job.steps, thousandths, job.scheduler, job.width, job.height, job.clipSkip].join('|');
}
/** The fake engine's picture, computed from the same definition by other code. */
export function fakePicture(job) {
    const { width, height } = job;
    const d = createHash('sha256').update(canonicalText(job)).digest();
    const pixels = Buffer.alloc(width * height * 3);
    for (let y = 0; y < height; y++) {
        const row = (y * y * (d[2] | 1) + 257 * d[3] + 1) % 65536;
        for (let x = 0; x < width; x++) {
            for (let c = 0; c < 3; c++) {
                const i = 3 * x + c;
                const column = (i * i * (d[0] | 1) + 257 * d[1]) % 65536;
                const noise = ((column * row) % 65536) >> 13;
                pixels[(y * width + x) * 3 + c] = (d[4 + c] + ((x * (1 + (d[7 + c] % 4))) >> 2) + ((y * (1 + (d[10] % 4))) >> 2) + noise) & 255;
            }
        }
    }
    d.copy(pixels, 0);
    return pixels;
}
