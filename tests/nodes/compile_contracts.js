// Compiles mlprov/contracts/*.sol: writes NAME.json beside each, or into the folder named.
//
//   node tests/nodes/compile_contracts.js [FOLDER]
//
// The bytecode carries no hash of sources or settings (metadata: none), so that it depends on the
// compiler and the code alone; "paris" knows no instruction that a younger chain may lack.
'use strict'

const { createHash } = require('node:crypto')
const fs = require('node:fs')
const path = require('node:path')
const solc = require('solc')

const sources = path.join(__dirname, '..', '..', 'mlprov', 'contracts')
const target = process.argv[2] || sources
const settings = {
  evmVersion: 'paris',
  metadata: { appendCBOR: false, bytecodeHash: 'none' },
  optimizer: { enabled: true, runs: 1000000 },
}

for (const file of fs.readdirSync(sources).filter((name) => name.endsWith('.sol')).sort()) {
  const content = fs.readFileSync(path.join(sources, file), 'utf8')
  const name = path.basename(file, '.sol')
  const answer = JSON.parse(solc.compile(JSON.stringify({
    language: 'Solidity',
    sources: { [file]: { content } },
    settings: { ...settings, outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object', 'evm.deployedBytecode.object', 'evm.deployedBytecode.immutableReferences'] } } },
  })))
  for (const { formattedMessage } of answer.errors || []) console.error(formattedMessage)
  if (answer.errors) process.exit(1)
  const { abi, evm } = answer.contracts[file][name]
  const compiled = {
    abi,
    bytecode: '0x' + evm.bytecode.object,
    compiler: 'solc ' + solc.version(),
    contract: name,
    // [byte, length] of what the constructor writes into the runtime code.
    immutable: Object.values(evm.deployedBytecode.immutableReferences || {}).flat()
      .map(({ start, length }) => [start, length]).sort(([a], [b]) => a - b),
    runtime: '0x' + evm.deployedBytecode.object,
    settings,
    source_sha256: createHash('sha256').update(content).digest('hex'),
  }
  fs.writeFileSync(path.join(target, name + '.json'), JSON.stringify(compiled, null, 1) + '\n')
}
