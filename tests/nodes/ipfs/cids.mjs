// The CIDs that js-ipfs's own importer gives a file: the second opinion of tests/python/test_ipfs.py.
//
// Arguments: a file, then JSON: a list of [chunk size, width, raw leaves, version of CIDs].
// Prints a CID a line, as text in base32.
import { readFileSync } from 'node:fs'
import { importer } from 'ipfs-unixfs-importer'
import { base32 } from 'multiformats/bases/base32'

const [path, cuts] = process.argv.slice(2)
const content = readFileSync(path)
const nowhere = { put: async (cid) => cid }

for (const [chunkSize, width, rawLeaves, cidVersion] of JSON.parse(cuts)) {
  const entries = importer([{ content }], nowhere, {
    rawLeaves,
    cidVersion,
    chunker: 'fixed',
    maxChunkSize: chunkSize,
    strategy: 'balanced',
    maxChildrenPerNode: width
  })
  for await (const entry of entries) {
    console.log(entry.cid.toV1().toString(base32))
  }
}
