"""The page at / and /docs: the interface for people, by the Swagger UI that BentoML serves.

BentoML's own page loads Google Tag Manager, which has no place where radiographs of patients are
sent from. Its layout has a field and a list without names, of no use here: this page has neither.
"""

from service.schemas import INTENDED_USE

PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="UTF-8">
  <title>nanocxr: HTTP interface</title>
  <link rel="icon" href="./ui/icon.svg">
  <link rel="stylesheet" href="./static_content/swagger-ui.css">
  <style>.visually-hidden {{ position: absolute; clip-path: inset(50%) }}</style>
</head>
<body>
  <main>
    <h1>nanocxr</h1>
    <p><strong>{INTENDED_USE}</strong></p>
    <p><a href="./ui/">Look at radiographs on the page</a></p>
    <div id="swagger-ui"></div>
  </main>
  <script src="./static_content/swagger-ui-bundle.js"></script>
  <script src="./docs.js"></script>
</body>
</html>
"""

# A file of its own, as the policy of pages forbids scripts inline. Swagger UI gives its lists of
# words no name that a screen reader could read; `description` is the name of the parameter.
SCRIPT = """const nothing = () => () => null;
const named = (Original, { React }) => (props) => React.createElement("label", {},
  React.createElement("span", { className: "visually-hidden" }, props.description || "value"),
  React.createElement(Original, props));

SwaggerUIBundle({
  url: "./docs.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  layout: "BaseLayout",
  plugins: [() => ({
    wrapComponents: {
      JsonSchemaForm: named, OperationServers: nothing, ServersContainer: nothing,
    },
  })],
});
"""
