import { defineConfig } from 'vite'

// `npm run build` builds the page to dist/page; `npx vite src/webapp/page` serves it during development.
export default defineConfig({
  // Relative URLs, so that the page works behind a proxy path prefix.
  base: './',
  // The gateway during development.
  server: { proxy: { '^/(generate|recipe|requests|health)': 'http://localhost:8000' } },
  build: {
    outDir: '../../../dist/page',
    emptyOutDir: true,
    target: 'es2023',
    sourcemap: true,
    reportCompressedSize: false,
    modulePreload: false,
    // Never inline assets: the page's Content-Security-Policy allows only files.
    assetsInlineLimit: 0
  }
})
