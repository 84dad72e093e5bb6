// A certified OpenID provider on loopback, for the tests of logging in. Prints its address when it serves; ends with its standard input.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

// The package stands in a cache folder, not beside this file.
const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);

const RESOURCE = 'https://tollkeeper.example.com';
const grants = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'];
const native = {
  application_type: 'native', grant_types: grants, redirect_uris: ['http://127.0.0.1/callback'], response_types: ['code'],
  token_endpoint_auth_method: 'none',
};

const server = createServer();
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const issuer = `http://127.0.0.1:${server.address().port}`;
const counts = { refresh: 0, refused: 0 };

const provider = new Provider(issuer, {
  clients: [{ client_id: 'cli', ...native }, { client_id: 'hasty', ...native }],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['only for tests'] },
  features: {
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: 'openid', audience: RESOURCE, accessTokenFormat: 'jwt', accessTokenTTL: 900, jwt: { sign: { alg: 'RS256' } },
      }),
      useGrantedResource: () => true,
    },
  },
  extraTokenClaims: () => ({ groups: ['research', 'all'] }),
  findAccount: (ctx, id) => ({
    accountId: id, claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: id }),
  }),
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: {
    AccessToken: 900, AuthorizationCode: 60, DeviceCode: (ctx, token, client) => (client.clientId === 'hasty' ? 1 : 600),
    Grant: 86400, IdToken: 900, Interaction: 600, RefreshToken: 86400, Session: 86400,
  },
});
provider.on('grant.success', (ctx) => { if (ctx.oidc.params.grant_type === 'refresh_token') counts.refresh += 1; });
provider.on('grant.error', (ctx) => { if (ctx.oidc.params?.grant_type === 'refresh_token') counts.refused += 1; });

const handle = provider.callback();
const polls = new Map();
server.on('request', (request, response) => {
  const url = new URL(request.url, issuer);
  if (url.pathname === '/counts') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(counts));
    return;
  }
  // The provider itself never says slow_down: below /slow/N, the first N polls are told so, the others are its own.
  const slow = url.pathname.match(/^\/slow\/(\d+)\/([a-z0-9]+)\/token$/);
  if (slow) {
    const seen = (polls.get(slow[2]) ?? 0) + 1;
    polls.set(slow[2], seen);
    if (seen <= Number(slow[1])) {
      request.resume();
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end('{"error":"slow_down"}');
      return;
    }
    request.url = '/token';
  }
  handle(request, response);
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
console.log(`ready ${issuer}`);
