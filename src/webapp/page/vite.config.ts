import { defineConfig } from 'vite'

// `npm run build` builds the page to dist/page; `npx vite src/webapp/page` serves it while you work on it.
export default defineConfig({
  // Relative addresses: the page also works under a path that a proxy adds.
  base: './',
  // Where the page finds the gateway while you work on it.
  server: { proxy: { '^/(generate|recipe|requests|health)': 'http://localhost:8000' } },
  build: {
    outDir: '../../../dist/page',
    emptyOutDir: true,
    target: 'es2023',
    sourcemap: true,
    reportCompressedSize: false,
    modulePreload: false,
    // Everything is a file of its own, as the page's Content-Security-Policy asks.
    assetsInlineLimit: 0
  }
})
